// Command client starts containers as the users of engines do: through containerd's own API and through the container
// runtime interface (CRI). It is a module of its own, so that the product's go.mod stays small.
//
//	client containerd import|start|list|exec|stop …
//	client cri pod|run|exec|restart|list|stop …
//
// It prints one JSON object a line. An error is one line on stderr, with the engine's own words, and exit code 1.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"time"
)

// limit is how long one command may take. Engines have limits of their own, which are to be seen before this one.
const limit = time.Minute

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// errUsage is a command line that says nothing that the client can do.
var errUsage = errors.New("usage: client containerd|cri COMMAND [FLAG...] [ARG...], see the sources")

func run(args []string, stdout, stderr io.Writer) int {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt)
	defer stop()
	err := errUsage
	if len(args) >= 2 {
		switch args[0] {
		case "containerd":
			err = runContainerd(ctx, args[1], args[2:], stdout)
		case "cri":
			err = runCRI(ctx, args[1], args[2:], stdout)
		}
	}
	if err != nil {
		fmt.Fprintln(stderr, "client:", err)
		return 1
	}
	return 0
}

// answer is one line of output. What a command has nothing to say of is left out.
type answer struct {
	ID     string `json:"id,omitempty"`
	Name   string `json:"name,omitempty"`
	PID    uint32 `json:"pid,omitempty"`
	Status string `json:"status,omitempty"`
	Output string `json:"output,omitempty"`
}

func (a answer) print(out io.Writer) error {
	return json.NewEncoder(out).Encode(a)
}

// pairs is a flag KEY=VALUE that may be given more than once.
type pairs map[string]string

func (p pairs) String() string { return fmt.Sprint(map[string]string(p)) }

// Set adds one pair. A value may hold commas and equal signs.
func (p pairs) Set(text string) error {
	key, value, ok := strings.Cut(text, "=")
	if !ok {
		return fmt.Errorf("%q is not KEY=VALUE", text)
	}
	p[key] = value
	return nil
}

// parse reads flags and says which arguments must follow them.
func parse(flags *flag.FlagSet, args []string, names ...string) error {
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() < len(names) {
		return fmt.Errorf("%s: want %s", flags.Name(), strings.Join(names, " "))
	}
	return nil
}
