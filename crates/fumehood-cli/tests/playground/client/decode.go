package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"sort"
	"strings"
	"time"
)

// Event is something that a program wrote, and how long to wait before showing it.
type Event struct {
	Message string
	Kind    string
	Delay   time.Duration
}

// A frame is 0 0 'P' 'B', nanoseconds since 1970 in 8 bytes, a length in 4 bytes, both with the
// highest byte first, and that many bytes of what was written.
const headerLen = 16

var magic = []byte{0, 0, 'P', 'B'}

// When a program's clock starts: 2009-11-10 23:00:00 UTC.
const start = 1257894000 * int64(time.Second)

var errShortHeader = errors.New("a header is cut off")

type write struct {
	at   int64
	kind string
	text []byte
}

// decode puts what was written to two streams in the order in which it was written.
func decode(stdout, stderr []byte) ([]Event, error) {
	// Of what was written at the same time, stderr comes first.
	writes, err := split(stderr, "stderr")
	if err != nil {
		return nil, err
	}
	others, err := split(stdout, "stdout")
	if err != nil {
		return nil, err
	}
	writes = append(writes, others...)
	sort.SliceStable(writes, func(i, j int) bool { return writes[i].at < writes[j].at })
	events, now := []Event{}, start
	for _, w := range writes {
		event := Event{Message: strings.ToValidUTF8(string(w.text), "\uFFFD"), Kind: w.kind}
		if w.at > now {
			event.Delay = time.Duration(w.at - now)
			now = w.at
		}
		events = append(events, event)
	}
	return events, nil
}

// split takes the frames of a stream apart. What is in no frame belongs to the time before it, and
// what was written at the same time is one.
func split(stream []byte, kind string) ([]write, error) {
	var writes []write
	last := start
	add := func(at int64, text []byte) {
		if at < last {
			at = last
		}
		last = at
		if n := len(writes); n > 0 && writes[n-1].at == at {
			writes[n-1].text = append(writes[n-1].text, text...)
			return
		}
		writes = append(writes, write{at, kind, append([]byte(nil), text...)})
	}
	for len(stream) > 0 {
		switch at := bytes.Index(stream, magic); {
		case at < 0:
			add(last, stream)
			stream = nil
		case at > 0:
			add(last, stream[:at])
			stream = stream[at:]
		case len(stream) < headerLen:
			return nil, errShortHeader
		default:
			when := int64(binary.BigEndian.Uint64(stream[4:]))
			length := int64(binary.BigEndian.Uint32(stream[12:]))
			stream = stream[headerLen:]
			if length > int64(len(stream)) {
				length = int64(len(stream))
			}
			add(when, stream[:length])
			stream = stream[length:]
		}
	}
	return writes, nil
}
