package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/pflag"

	"github.com/lanhook/lanhook/policy/request"
)

// command is one command of the command line, or a group of them. (The usual library for this, cobra, brings
// text/template along: a quarter of the whole program, which is loaded for every container that starts and stops.)
type command struct {
	// use is the command's name and then its arguments as help shows them.
	use   string
	short string
	long  string
	// args are the names of its arguments; with optional they may be left out.
	args     []string
	optional bool
	flags    func(*pflag.FlagSet)
	run      func(ctx context.Context, args []string) error
	sub      []*command
}

func (c *command) name() string {
	name, _, _ := strings.Cut(c.use, " ")
	return name
}

// group is a command that only holds others.
func group(name, short string, sub ...*command) *command {
	return &command{use: name, short: short, sub: sub}
}

// execute finds the command that args name, parses its flags and runs it. It gives back the command's full name for
// messages. Flags may stand before and after the arguments.
func (c *command) execute(ctx context.Context, stdout io.Writer, path string, global *pflag.FlagSet, args []string) (string, error) {
	path = strings.TrimSpace(path + " " + c.name())
	fs := pflag.NewFlagSet(path, pflag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.Usage = func() {}
	fs.SetInterspersed(len(c.sub) == 0)
	fs.AddFlagSet(global)
	if c.flags != nil {
		c.flags(fs)
	}
	err := fs.Parse(args)
	if errors.Is(err, pflag.ErrHelp) {
		return path, c.help(stdout, path, fs)
	}
	if err != nil {
		return path, &usageError{msg: err.Error(), hint: "see " + path + " --help"}
	}
	if len(c.sub) > 0 {
		return c.descend(ctx, stdout, path, global, fs)
	}
	if n := fs.NArg(); n > len(c.args) || n < len(c.args) && !c.optional {
		want := strings.Join(c.args, " ")
		if want == "" {
			want = "no arguments"
		}
		return path, &usageError{msg: fmt.Sprintf("needs %s, got %s", want, count(n, "argument")), hint: "see " + path + " --help"}
	}
	return path, c.run(ctx, fs.Args())
}

func (c *command) descend(ctx context.Context, stdout io.Writer, path string, global, fs *pflag.FlagSet) (string, error) {
	if fs.NArg() == 0 || fs.Arg(0) == "help" {
		return path, c.help(stdout, path, fs)
	}
	var names []string
	for _, s := range c.sub {
		if s.name() == fs.Arg(0) {
			return s.execute(ctx, stdout, path, global, fs.Args()[1:])
		}
		names = append(names, s.name())
	}
	hint := "see " + path + " --help"
	if near, ok := request.Nearest(fs.Arg(0), names); ok {
		hint = fmt.Sprintf("did you mean %s %s?", path, near)
	}
	return path, &usageError{msg: fmt.Sprintf("unknown command %q", fs.Arg(0)), hint: hint}
}

// help writes what the command is, its flags and its commands.
func (c *command) help(w io.Writer, path string, fs *pflag.FlagSet) error {
	about := c.long
	if about == "" {
		about = c.short + "."
	}
	_, args, _ := strings.Cut(c.use, " ")
	if len(c.sub) > 0 {
		args = "COMMAND"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\nUsage: %s\n", about, strings.TrimSpace(path+" "+args))
	if len(c.sub) > 0 {
		b.WriteString("\nCommands:\n")
		for _, s := range c.sub {
			fmt.Fprintf(&b, "  %-14s %s\n", s.name(), s.short)
		}
	}
	if flags := fs.FlagUsages(); flags != "" {
		b.WriteString("\nFlags:\n" + flags)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
