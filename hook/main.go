// Command lanhook plugs OCI containers into real networks. It is the OCI hook that runtimes call, and the
// administrator's command line.
package main

import "os"

func main() {
	deepen(false)
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// stackDepth is what an attach needs of stack, in bytes.
const stackDepth = 40 << 10

// deepen makes the stack as deep as an attach needs it, while there is nothing on it yet. Left to itself it grows in
// three steps, each to twice the size, and each copies what is there and looks every frame up.
//
//go:noinline
func deepen(use bool) byte {
	if !use {
		return 0
	}
	// Room on the stack is made for all of a function when it is called, whether it comes here or not.
	var room [stackDepth]byte
	return deepest(&room)
}

//go:noinline
func deepest(room *[stackDepth]byte) byte { return room[stackDepth-1] }
