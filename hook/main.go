// Command lanhook plugs OCI containers into real networks. It is the OCI hook that runtimes call, and the
// administrator's command line.
package main

import "os"

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
