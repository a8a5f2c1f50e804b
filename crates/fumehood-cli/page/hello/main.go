package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Println("Hello from Go.")
	squares := make(chan int)
	go func() {
		defer close(squares)
		for n := 1; n <= 5; n++ {
			squares <- n * n
		}
	}()
	for square := range squares {
		fmt.Println(square)
	}
	fmt.Fprintln(os.Stderr, "This line went to standard error.")
}
