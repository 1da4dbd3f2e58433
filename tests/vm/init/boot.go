//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/lanhook/lanhook/tests/vm/spec"
)

const (
	lower   = "/lower"
	writes  = "/rw"
	newroot = "/newroot"
	aside   = "/aside"
)

func mountKernel() error {
	for _, m := range []struct{ kind, path string }{{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}} {
		if err := mount(m.kind, m.path, m.kind, 0, ""); err != nil {
			return err
		}
	}
	// The kernel could not open the console: /dev was empty.
	console, err := unix.Open("/dev/console", unix.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return fmt.Errorf("open the console: %w", err)
	}
	for fd := range 3 {
		if err := unix.Dup2(console, fd); err != nil {
			return fmt.Errorf("use the console: %w", err)
		}
	}
	return nil
}

func mount(source, path, kind string, flags uintptr, options string) error {
	if err := unix.Mount(source, path, kind, flags, options); err != nil {
		return fmt.Errorf("mount %s on %s: %w", kind, path, err)
	}
	return nil
}

// loadModules loads the files that list names, in its order. One that is built into the kernel is no error.
func loadModules(dir string) error {
	list, err := os.ReadFile(filepath.Join(dir, "list"))
	if err != nil {
		return fmt.Errorf("read the list of modules: %w", err)
	}
	for name := range strings.FieldsSeq(string(list)) {
		image, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return fmt.Errorf("read module: %w", err)
		}
		err = unix.InitModule(image, "")
		if err != nil && !errors.Is(err, unix.EEXIST) && !errors.Is(err, unix.ENODEV) {
			return fmt.Errorf("load module %s: %w", name, err)
		}
	}
	return nil
}

// mountRoot makes the new root and enters it, and gives what the guest is told.
func mountRoot() (spec.Run, error) {
	// Nothing that the guest reads here changes during a run, so it may keep all of it.
	if err := mount("root", lower, "9p", unix.MS_RDONLY,
		"trans=virtio,version=9p2000.L,msize=512000,cache=loose"); err != nil {
		return spec.Run{}, err
	}
	told, err := readSpec()
	if err != nil {
		return told, err
	}
	if err := mount("tmpfs", writes, "tmpfs", 0, "size=75%,mode=755"); err != nil {
		return told, err
	}
	for _, dir := range []string{writes + "/up", writes + "/work"} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return told, err
		}
	}
	if err := mount("root", newroot, "overlay", 0,
		"lowerdir="+lower+",upperdir="+writes+"/up,workdir="+writes+"/work"); err != nil {
		return told, err
	}
	if err := hide(told.Keep); err != nil {
		return told, err
	}
	for _, dir := range []string{"/proc", "/sys", "/dev"} {
		if err := mount(dir, newroot+dir, "", unix.MS_MOVE, ""); err != nil {
			return told, err
		}
	}
	if err := unix.Chdir(newroot); err != nil {
		return told, err
	}
	if err := mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return told, err
	}
	return told, errors.Join(unix.Chroot("."), unix.Chdir("/"))
}

func readSpec() (spec.Run, error) {
	var told spec.Run
	line, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return told, err
	}
	for word := range strings.FieldsSeq(string(line)) {
		dir, ok := strings.CutPrefix(word, spec.Parameter)
		if !ok {
			continue
		}
		raw, err := os.ReadFile(filepath.Join(lower, dir, spec.File))
		if err != nil {
			return told, fmt.Errorf("read what to do: %w", err)
		}
		decoder := json.NewDecoder(bytes.NewReader(raw))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&told); err != nil {
			return told, fmt.Errorf("read what to do: %w", err)
		}
		return told, nil
	}
	return told, fmt.Errorf("the kernel's command line has no %s", spec.Parameter)
}

// hidden are the folders that are empty in a guest: the host's sockets and state are none of its business, and an overlay
// takes no folder of another overlay to write to, which container engines need.
func hidden() []string {
	return []string{
		"/run", "/tmp", "/var/tmp", "/var/log", "/var/lib/containers", "/var/lib/containerd", "/var/lib/cni",
		"/var/lib/docker", "/var/cache/containers",
	}
}

// hide empties the hidden folders but for what is to be kept, which is put aside meanwhile.
func hide(keep []string) error {
	kept := below(keep)
	for i, dir := range kept {
		place := fmt.Sprintf("%s/%d", aside, i)
		if err := os.MkdirAll(place, 0o755); err != nil {
			return err
		}
		if err := mount(newroot+dir, place, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("keep %s: %w", dir, err)
		}
	}
	for _, dir := range hidden() {
		options := "mode=755"
		if strings.HasSuffix(dir, "tmp") {
			options = "mode=1777"
		}
		if err := os.MkdirAll(newroot+dir, 0o755); err != nil {
			return err
		}
		if err := mount("tmpfs", newroot+dir, "tmpfs", 0, options); err != nil {
			return err
		}
	}
	for i, dir := range kept {
		if err := os.MkdirAll(newroot+dir, 0o755); err != nil {
			return err
		}
		if err := mount(fmt.Sprintf("%s/%d", aside, i), newroot+dir, "", unix.MS_MOVE, ""); err != nil {
			return fmt.Errorf("keep %s: %w", dir, err)
		}
	}
	return nil
}

// below are those folders that lie in a hidden one, without those that lie in another of them.
func below(keep []string) []string {
	within := func(dir, other string) bool { return strings.HasPrefix(dir+"/", other+"/") }
	var list []string
next:
	for i, dir := range keep {
		for j, other := range keep {
			if within(dir, other) && (dir != other || j < i) {
				continue next
			}
		}
		for _, h := range hidden() {
			if dir != h && within(dir, h) {
				list = append(list, dir)
				break
			}
		}
	}
	return list
}
