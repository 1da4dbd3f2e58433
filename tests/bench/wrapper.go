//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// The wrapper is measured in front of a runtime that does nothing, /bin/true: what it takes beside that one is its own.
// As it edits a bundle once only, the bundle is written anew for each sample.

const createOp = "create"

// The contenders of createOp.
const (
	bareRuntime = "the runtime alone"
	nothing     = "lanhook-runtime, nothing asked for"
	network     = "lanhook-runtime, a network asked for"
)

// bundleText is a config.json, without its annotations.
const bundleText = `{"ociVersion":"1.0.2","process":{"args":["sleep"],"cwd":"/"},"root":{"path":"rootfs"},"annotations":{%s},` +
	`"linux":{"namespaces":[{"type":"pid"},{"type":"mount"},{"type":"network"}]}}`

// wrapper is where the wrapper's own surroundings are.
type wrapper struct {
	program, runtime, bundle string
}

// newWrapper gives a host that is not made yet a runtime.toml of its own.
func (b *bencher) newWrapper(host string) (wrapper, error) {
	w := wrapper{
		program: filepath.Join(b.tools, "lanhook-runtime"),
		runtime: "/bin/true",
		bundle:  filepath.Join(folder, "bundle"),
	}
	upper, work := filepath.Join(folder, "etc"), filepath.Join(folder, "etc.work")
	for _, dir := range []string{filepath.Join(upper, "lanhook"), work, filepath.Join(w.bundle, "rootfs")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return w, err
		}
	}
	text := fmt.Sprintf("version = 1\nruntime = %q\nlanhook = %q\npolicy = %q\nstate-dir = %q\n",
		w.runtime, b.config.lanhook, policyFile, filepath.Join(folder, host, "lanhook"))
	if err := os.WriteFile(filepath.Join(upper, "lanhook", "runtime.toml"), []byte(text), 0o600); err != nil {
		return w, err
	}
	options := "lowerdir=/etc,upperdir=" + upper + ",workdir=" + work
	if err := syscall.Mount("overlay", "/etc", "overlay", 0, options); err != nil {
		return w, fmt.Errorf("mount an /etc of our own: %w", err)
	}
	return w, nil
}

// create measures what a runtime takes to create a container that does nothing, with and without the wrapper.
func (b *bencher) create(w wrapper) error {
	for _, c := range []struct{ name, program, annotations string }{
		{bareRuntime, w.runtime, ""},
		{nothing, w.program, `"org.example.kind":"web"`},
		{network, w.program, `"io.lanhook.network":"macvlan"`},
	} {
		config := []byte(fmt.Sprintf(bundleText, c.annotations))
		if err := os.WriteFile(filepath.Join(w.bundle, "config.json"), config, 0o600); err != nil {
			return err
		}
		s, err := b.measure(b.host, command{argv: []string{c.program, "create", "--bundle", w.bundle, "box"}, silent: true})
		if err != nil {
			return err
		}
		b.add(what{"", createOp, none, c.name}, s)
	}
	return nil
}
