// Client speaks the protocol of the Go playground's back end as it is documented, and nothing else:
// it sends a program, reads the answer, and plays back what the program wrote, and when.
//
//	client run URL PROGRAM [ARGUMENT...]
//	client decode STDOUT STDERR
//
// Both print one JSON object. The program is a file; STDOUT and STDERR are files, too.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

// Response is what the service answers.
type Response struct {
	Error    string `json:"error,omitempty"`
	ExitCode int    `json:"exitCode"`
	Stdout   []byte `json:"stdout"`
	Stderr   []byte `json:"stderr"`
}

// Result is what we print.
type Result struct {
	Errors string
	Events []Event
	Status int
	// How long the service took, in milliseconds.
	Took int64
}

func main() {
	result, err := do(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "client:", err)
		os.Exit(1)
	}
	if err := json.NewEncoder(os.Stdout).Encode(result); err != nil {
		os.Exit(1)
	}
}

func do(args []string) (*Result, error) {
	switch {
	case len(args) >= 3 && args[0] == "run":
		return run(args[1], args[2], args[3:])
	case len(args) == 3 && args[0] == "decode":
		stdout, err := os.ReadFile(args[1])
		if err != nil {
			return nil, err
		}
		stderr, err := os.ReadFile(args[2])
		if err != nil {
			return nil, err
		}
		return play(&Response{Stdout: stdout, Stderr: stderr})
	}
	return nil, fmt.Errorf("usage: client run URL PROGRAM [ARGUMENT...] | decode STDOUT STDERR")
}

// run has a program run, with the deadline that the playground's front end has.
func run(url, program string, args []string) (*Result, error) {
	file, err := os.ReadFile(program)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequest("POST", url, bytes.NewReader(file))
	if err != nil {
		return nil, err
	}
	for _, arg := range args {
		request.Header.Add("X-Argument", arg)
	}
	// The front end says this of every program, so that its transport may try again.
	request.Header.Set("Idempotency-Key", "1")
	started := time.Now()
	client := &http.Client{Timeout: 5 * time.Second}
	reply, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer reply.Body.Close()
	body, err := io.ReadAll(reply.Body)
	if err != nil {
		return nil, err
	}
	took := time.Since(started).Milliseconds()
	if reply.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %d: %s", reply.StatusCode, body)
	}
	if reply.ContentLength != int64(len(body)) {
		return nil, fmt.Errorf("Content-Length %d, but %d bytes", reply.ContentLength, len(body))
	}
	var response Response
	if err := json.Unmarshal(body, &response); err != nil {
		return nil, err
	}
	result, err := play(&response)
	if err != nil {
		return nil, err
	}
	result.Took = took
	return result, nil
}

func play(response *Response) (*Result, error) {
	events, err := decode(response.Stdout, response.Stderr)
	if err != nil {
		return nil, err
	}
	return &Result{Errors: response.Error, Events: events, Status: response.ExitCode}, nil
}
