//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// essential are the modules by which the first process reaches the host.
func essential() []string {
	return []string{"virtio_pci", "virtio_console", "9pnet_virtio", "9p", "overlay", "virtio_net", "virtio_rng"}
}

// writeInitrd writes the initial archive of an image, which the kernel unpacks into its first root.
func writeInitrd(ctx context.Context, release, work string, program []byte) error {
	files, err := loadOrder(ctx, release, work)
	if err != nil {
		return err
	}
	var archive cpio
	for _, dir := range []string{"dev", "proc", "sys", "lower", "rw", "newroot", "aside", "mod"} {
		archive.add(entry{name: dir, mode: modeDir | 0o755})
	}
	archive.add(entry{name: "init", mode: modeFile | 0o755, data: program})
	var list strings.Builder
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		archive.add(entry{name: "mod/" + filepath.Base(file), mode: modeFile | 0o644, data: data})
		fmt.Fprintln(&list, filepath.Base(file))
	}
	archive.add(entry{name: "mod/list", mode: modeFile | 0o644, data: []byte(list.String())})
	return os.WriteFile(filepath.Join(work, "initrd"), archive.bytes(), 0o644)
}

// loadOrder are the files of the essential modules and of those that they need, in the order in which they are loaded.
func loadOrder(ctx context.Context, release, work string) ([]string, error) {
	root, err := filepath.Abs(work)
	if err != nil {
		return nil, err
	}
	var files []string
	for _, module := range essential() {
		// Fails for one that is neither there nor built into the kernel.
		out, err := output(ctx, "", sbin("modprobe"), "-d", root, "-S", release, "--show-depends", module)
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(out)) {
			what, file, _ := strings.Cut(strings.TrimSpace(line), " ")
			if what == "insmod" && !slices.Contains(files, file) {
				files = append(files, strings.TrimSpace(file))
			}
		}
	}
	return files, nil
}

// The kinds of an entry, from stat(2).
const (
	modeDir  = 0o040000
	modeFile = 0o100000
)

// entry is a file or a folder of an archive.
type entry struct {
	name string
	mode uint32
	data []byte
}

// cpio is an archive in the form "newc" (Documentation/driver-api/early-userspace/buffer-format.rst of Linux).
type cpio struct {
	text  bytes.Buffer
	count int
}

func (c *cpio) add(e entry) {
	c.count++
	fields := [13]int{
		0:  c.count, // inode
		1:  int(e.mode),
		4:  1, // links
		6:  len(e.data),
		11: len(e.name) + 1,
	}
	c.text.WriteString("070701")
	for _, f := range fields {
		fmt.Fprintf(&c.text, "%08x", f)
	}
	c.text.WriteString(e.name)
	c.text.WriteByte(0)
	c.align()
	c.text.Write(e.data)
	c.align()
}

func (c *cpio) align() {
	for c.text.Len()%4 != 0 {
		c.text.WriteByte(0)
	}
}

// bytes ends the archive.
func (c *cpio) bytes() []byte {
	c.add(entry{name: "TRAILER!!!"})
	return c.text.Bytes()
}
