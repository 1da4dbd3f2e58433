// Command containerd-shim-lanhook-v2 is the containerd runtime io.containerd.lanhook.v2. It becomes containerd's own shim
// for runc, with a folder first in PATH in which runc is lanhook-runtime: so every container that the shim starts, those
// of a pod too, comes by lanhook.
package main

import (
	"os"

	"github.com/lanhook/lanhook/shim/config"
)

func main() {
	os.Exit(run(os.Args[1:], os.Environ(), os.Stderr, config.Path))
}
