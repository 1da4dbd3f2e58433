package main

import (
	"fmt"
	"io"
	"time"

	"github.com/lanhook/lanhook/shim/config"
)

// report says what is wrong on stderr, and in the runtime's log, where engines look for it.
func (c call) report(stderr io.Writer, err error) {
	text := config.Line("lanhook-runtime", c.command, err)
	fmt.Fprintln(stderr, text)
	if logErr := c.log.Append(text, time.Now()); logErr != nil {
		fmt.Fprintf(stderr, "lanhook-runtime: write %s: %v\n", c.log.Path, logErr)
	}
}
