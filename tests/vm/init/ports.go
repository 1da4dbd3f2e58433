//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/lanhook/lanhook/tests/vm/spec"
)

// ports are the ways to the host that a guest has. In them nothing is changed on its way, other than in a terminal.
type ports struct {
	out, err, control, agent *os.File
}

func openPorts(mode spec.Mode) (ports, error) {
	var p ports
	wanted := map[string]**os.File{spec.PortControl: &p.control}
	switch mode {
	case spec.Command:
		wanted[spec.PortOut], wanted[spec.PortErr] = &p.out, &p.err
	case spec.Agent:
		wanted[spec.PortAgent] = &p.agent
	case spec.Shell:
	}
	names, err := filepath.Glob("/sys/class/virtio-ports/*/name")
	if err != nil {
		return p, err
	}
	for _, file := range names {
		name, err := os.ReadFile(file)
		if err != nil {
			return p, err
		}
		into := wanted[strings.TrimSpace(string(name))]
		if into == nil {
			continue
		}
		device := "/dev/" + filepath.Base(filepath.Dir(file))
		// Not by os.OpenFile, which would make it one that never blocks; the command gets it as it is.
		fd, err := unix.Open(device, unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			return p, fmt.Errorf("open %s: %w", device, err)
		}
		*into = os.NewFile(uintptr(fd), device)
	}
	for name, file := range wanted {
		if *file == nil {
			return p, fmt.Errorf("there is no port %s", name)
		}
	}
	return p, nil
}

// say tells the host how it goes.
func (p ports) say(format string, args ...any) error {
	if _, err := fmt.Fprintf(p.control, format+"\n", args...); err != nil {
		return fmt.Errorf("tell the host: %w", err)
	}
	return nil
}
