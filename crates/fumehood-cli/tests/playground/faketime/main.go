// Faketime does what its first argument says; built with -tags=faketime it does so in no time.
package main

import (
	"fmt"
	"net"
	"os"
	"strings"
	"time"
)

func main() {
	what := "now"
	if len(os.Args) > 1 {
		what = os.Args[1]
	}
	tricks[what]()
}

var tricks = map[string]func(){
	// The time at which every program starts.
	"now": func() { fmt.Println(time.Now().UTC().Format("2006-01-02 15:04:05")) },
	"zones": func() {
		for _, name := range []string{"America/New_York", "Europe/Berlin"} {
			location, err := time.LoadLocation(name)
			if err != nil {
				fmt.Println(err)
				os.Exit(1)
			}
			fmt.Println(time.Now().In(location).Format("15:04 MST"))
		}
	},
	"sleep": func() {
		fmt.Println("before")
		time.Sleep(2 * time.Second)
		fmt.Println("after")
	},
	// Every change of stream takes a nanosecond, so that the order is kept.
	"streams": func() {
		fmt.Fprint(os.Stdout, "1")
		fmt.Fprint(os.Stderr, "2")
		fmt.Fprint(os.Stdout, "3")
		time.Sleep(time.Second)
		fmt.Fprint(os.Stdout, "4")
		time.Sleep(time.Second)
		fmt.Fprint(os.Stdout, "5")
	},
	"tickers": func() {
		one, two, three := time.Tick(time.Second), time.Tick(3*time.Second), time.After(5500*time.Millisecond)
		for n := 0; n < 9; n++ {
			select {
			case <-one:
				fmt.Print("1")
			case <-two:
				fmt.Print("2")
			case <-three:
				fmt.Print("3")
			}
		}
	},
	"arguments": func() { fmt.Print(strings.Join(os.Args[2:], "|")) },
	"files": func() {
		for _, path := range os.Args[2:] {
			_, err := os.Stat(path)
			fmt.Println(path, err == nil)
		}
	},
	"ip": func() { fmt.Println(net.ParseIP("2001:db8::1")) },
	"loop": func() {
		fmt.Println("before")
		for {
		}
	},
	"panic": func() { panic("no") },
	"bytes": func() { os.Stdout.Write([]byte("a\xffb")) },
}
