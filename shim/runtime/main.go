// Command lanhook-runtime stands before an OCI runtime. When a container with annotations of lanhook's is to be created,
// it puts lanhook's hooks into the bundle's config.json; then, and at every other call, it becomes the real runtime:
// same arguments, same environment, same process.
package main

import (
	"os"

	"github.com/lanhook/lanhook/shim/config"
)

func main() {
	os.Exit(run(os.Args[1:], os.Environ(), os.Stderr, config.Path))
}
