//go:build linux

// Command run runs a command as root in a guest with one of Debian's kernels, with the host's programs and files.
//
//	run [flags] -- COMMAND [ARGUMENT...]
//
// Standard output and error come back as they are, and so does the exit status; 124 means that the command took too long,
// 125 that the guest failed, 126 and 127 that the command could not be run or found, 128 + N that signal N ended it.
// Beside -tty, standard input is empty.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lanhook/lanhook/tests/vm"
)

func main() { os.Exit(run(os.Args[1:])) }

// list is a flag that may be given several times.
type list []string

func (l *list) String() string { return strings.Join(*l, " ") }

func (l *list) Set(value string) error {
	*l = append(*l, value)
	return nil
}

func run(args []string) int {
	var o vm.Options
	flags := flag.NewFlagSet("run", flag.ContinueOnError)
	flags.StringVar(&o.Kernel, "kernel", vm.Newest, "the `kernel`: "+strings.Join(vm.Kernels(), " or "))
	flags.StringVar(&o.Images, "images", "", "the `folder` of the images; else the one of this program")
	flags.StringVar(&o.Dir, "dir", "", "the `folder` to run in; else the one that run is run in")
	flags.IntVar(&o.Memory, "memory", 0, "the guest's memory in `MiB`; else 1024")
	flags.DurationVar(&o.Timeout, "timeout", 10*time.Minute, "how long the command may take")
	flags.Var((*list)(&o.Shares), "share", "a `folder` that the guest may write to; may be repeated")
	flags.Var((*list)(&o.Keep), "keep", "a `folder` below /tmp, /var/tmp or /run that the guest is to see; may be repeated")
	flags.Var((*list)(&o.Env), "e", "`NAME=VALUE` for the command's environment; may be repeated")
	flags.Var((*list)(&o.Modprobe), "modprobe", "a `module` to load before the command; may be repeated")
	terminal := flags.Bool("tty", false, "connect the command to this terminal")
	verbose := flags.Bool("v", false, "say how long it took")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	if err := addDefaults(&o, flags.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "vm:", err)
		return vm.ExitGuest
	}
	streams := vm.Streams{Stdout: os.Stdout, Stderr: os.Stderr, Log: os.Stderr, Terminal: *terminal}
	restore := func() {}
	if *terminal {
		restore = raw(&streams)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	result, err := vm.Boot(ctx, o, streams, flags.Args()...)
	restore()
	switch {
	case errors.Is(err, context.Canceled):
		return 128 + int(syscall.SIGTERM)
	case err != nil:
		fmt.Fprintln(os.Stderr, "vm:", err)
		return vm.ExitGuest
	case *verbose:
		fmt.Fprintf(os.Stderr, "vm: kernel %s: exit %d, boots %d, started after %.1f s, ended after %.1f s\n",
			o.Kernel, result.Exit, result.Boots, result.Start.Seconds(), result.Whole.Seconds())
	}
	return result.Exit
}

// addDefaults finds the images, and lets the guest write where go test -exec leaves a profile to be written: beside the
// test program, which it has built for this run.
func addDefaults(o *vm.Options, args []string) error {
	if o.Images == "" {
		program, err := os.Executable()
		if err != nil {
			return err
		}
		o.Images = filepath.Dir(program)
	}
	if len(args) > 0 && strings.Contains(args[0], "/go-build") && filepath.IsAbs(args[0]) {
		o.Shares = append(o.Shares, filepath.Dir(args[0]))
	}
	return nil
}

// raw makes every key go to the guest, Ctrl-C too, and gives what undoes it. A standard input that is no terminal stays
// as it is.
func raw(streams *vm.Streams) (restore func()) {
	fd := int(os.Stdin.Fd())
	before, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return func() {}
	}
	if size, err := unix.IoctlGetWinsize(fd, unix.TIOCGWINSZ); err == nil {
		streams.Rows, streams.Columns = size.Row, size.Col
	}
	now := *before
	// As cfmakeraw of termios(3).
	now.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	now.Oflag &^= unix.OPOST
	now.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	now.Cflag = now.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, &now); err != nil {
		return func() {}
	}
	return func() {
		if err := unix.IoctlSetTermios(fd, unix.TCSETS, before); err != nil {
			fmt.Fprintln(os.Stderr, "vm: restore the terminal (stty sane does):", err)
		}
	}
}
