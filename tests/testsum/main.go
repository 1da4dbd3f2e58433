// Command testsum reads the output of go test -json on stdin and prints what people want of it: one line a package as
// go test does, the whole output of tests that failed, the reason of tests that were skipped, and a last line that
// counts them. It exits 1 when a test or package failed, or when no test ran at all, so that a lane cannot be empty
// unseen.
//
//	go test -json ./... | testsum check
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
)

func main() {
	label := "tests"
	if len(os.Args) > 1 {
		label = os.Args[1]
	}
	os.Exit(run(label, os.Stdin, os.Stdout))
}

// event is one line of go test -json, see "go doc test2json".
type event struct {
	Action     string
	Package    string
	ImportPath string
	Test       string
	Output     string
}

// summary is what has been read so far. Output is held back by test until its result is known.
type summary struct {
	out io.Writer
	// err is the first error of out.
	err    error
	output map[string]*strings.Builder
	// passed, failed and skipped count tests and subtests, broken packages.
	passed, failed, skipped, broken int
}

func run(label string, in io.Reader, out io.Writer) int {
	s := &summary{out: out, output: map[string]*strings.Builder{}}
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			s.line(line)
		}
		if err != nil {
			break
		}
	}
	s.printf("%s: %d passed, %d failed, %d skipped\n", label, s.passed, s.failed, s.skipped)
	switch {
	case s.failed > 0 || s.broken > 0 || s.err != nil:
		return 1
	case s.passed == 0:
		s.printf("%s: no test ran\n", label)
		return 1
	}
	return 0
}

func (s *summary) printf(format string, args ...any) {
	if _, err := fmt.Fprintf(s.out, format, args...); err != nil && s.err == nil {
		s.err = err
	}
}

func (s *summary) line(line string) {
	var e event
	if err := json.Unmarshal([]byte(line), &e); err != nil {
		s.printf("%s", line)
		return
	}
	key := e.Package + " " + e.Test
	switch e.Action {
	case "build-output":
		s.printf("%s", e.Output)
	case "build-fail":
		s.broken++
	case "output":
		s.keep(key, e)
	case "pass":
		if e.Test != "" {
			s.passed++
		}
		delete(s.output, key)
	case "skip":
		if e.Test != "" {
			s.skipped++
			s.flush(key)
		}
	case "fail":
		if e.Test == "" {
			s.broken++
		} else {
			s.failed++
		}
		s.flush(key)
	}
}

// keep holds output back, but for a package's own result line. It drops the lines that only say that a test goes on.
func (s *summary) keep(key string, e event) {
	if strings.HasPrefix(e.Output, "=== ") {
		return
	}
	if e.Test == "" {
		for _, start := range []string{"ok  \t", "FAIL\t", "?   \t"} {
			if strings.HasPrefix(e.Output, start) {
				s.printf("%s", e.Output)
				return
			}
		}
	}
	if s.output[key] == nil {
		s.output[key] = &strings.Builder{}
	}
	s.output[key].WriteString(e.Output)
}

func (s *summary) flush(key string) {
	if b := s.output[key]; b != nil {
		s.printf("%s", b)
		delete(s.output, key)
	}
}
