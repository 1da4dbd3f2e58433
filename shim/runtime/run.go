package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/lanhook/lanhook/shim/config"
	"github.com/lanhook/lanhook/shim/inject"
)

// run becomes the real runtime, after it has edited the bundle where there is something to edit. It comes back only with
// an exit code: when that was not possible, which it has said on stderr and in the runtime's log.
func run(args, env []string, stderr io.Writer, file string) int {
	c, err := parse(args)
	if err == nil {
		err = c.become(env, file)
	}
	c.report(stderr, err)
	return 1
}

// become does not come back, unless with an error.
func (c call) become(env []string, file string) error {
	cfg, cfgErr := config.Load(file)
	chosen, profileErr := cfg.Choose(c.profile)
	self, err := os.Stat("/proc/self/exe")
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	runtime, err := config.FindRuntime(chosen.Runtime, self)
	if err != nil {
		// Which of the two is to be mended first is clear.
		if cfgErr != nil {
			return cfgErr
		}
		return err
	}
	line := append([]string{runtime}, c.args...)
	if c.creates() {
		by, err := c.prepare(runtime, chosen, cfgErr, profileErr)
		if err != nil {
			return err
		}
		line = append(by, line...)
	}
	if err := syscall.Exec(line[0], line, past(self, env)); err != nil { //nolint:gosec // G204: that is what it is for
		return fmt.Errorf("run %s: %w", line[0], err)
	}
	return nil
}

// past is the environment without the folder first in PATH by which containerd-shim-lanhook-v2 had this program found as
// runc. A real runtime that itself looks for runc in PATH, as some that stand before it do, would find it again, and it
// that runtime, for ever.
func past(self os.FileInfo, env []string) []string {
	for i, e := range env {
		path, ok := strings.CutPrefix(e, "PATH=")
		if !ok {
			continue
		}
		folder, rest, more := strings.Cut(path, ":")
		if info, err := os.Stat(filepath.Join(folder, "runc")); err != nil || !filepath.IsAbs(folder) || !os.SameFile(info, self) {
			return env
		}
		if !more {
			return slices.Concat(env[:i], env[i+1:])
		}
		return slices.Concat(env[:i], []string{"PATH=" + rest}, env[i+1:])
	}
	return env
}

// prepare edits the bundle of a container that asks for something. One that asks for nothing is not touched, whatever
// is wrong with runtime.toml; but who names a profile asks. by is the beginning of the command line of the program that
// stands before the runtime, none as a rule.
func (c call) prepare(runtime string, cfg config.Config, cfgErr, profileErr error) (by []string, err error) {
	t, err := c.target(mannerOf(runtime))
	if err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(t.bundle)
	if err != nil {
		return nil, fmt.Errorf("find the bundle %.80q: %w", t.bundle, err)
	}
	box, err := c.read(t, dir, cfg)
	switch {
	case err != nil:
		return nil, err
	case c.profile != "" && cfgErr != nil:
		return nil, cfgErr
	case profileErr != nil:
		return nil, profileErr
	case !box.Asks():
		return nil, nil
	case cfgErr != nil:
		return nil, cfgErr
	}
	this, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	lanhook, err := config.FindLanhook(cfg.Lanhook, this)
	if err != nil {
		return nil, err
	}
	edits, err := box.Edits(inject.Options{
		ID: t.id, Lanhook: lanhook, Policy: cfg.Policy, StateDir: cfg.StateDir, Timeout: cfg.Timeout, Defaults: cfg.Annotations,
	})
	if err == nil {
		err = box.Write(edits)
	}
	if word, joins := box.Joins(); joins && err == nil {
		by = []string{lanhook, "join", "--bundle", dir}
		if cfg.StateDir != "" {
			by = append(by, "--state-dir", cfg.StateDir)
		}
		// What is wrong with the other container is told where the engine looks for it.
		if c.log.Path != "" {
			by = append(by, "--log", c.log.Path, "--log-format", c.log.Format)
		}
		by = append(by, word)
	}
	return by, err
}

// read reads the container's configuration. One that is not the bundle's config.json may ask for nothing: the hook and
// whoever cleans up look for it in the bundle.
func (c call) read(t target, dir string, cfg config.Config) (inject.Container, error) {
	box, err := inject.Read(dir, cfg.Annotations)
	if t.config == "" || t.config == "config.json" {
		return box, err
	}
	file, err := filepath.Abs(t.config)
	if err != nil || file == filepath.Join(dir, "config.json") {
		return box, err
	}
	box, err = inject.ReadFile(dir, file, cfg.Annotations)
	if err == nil && box.Asks() {
		err = fmt.Errorf("--config %s: a container with annotations of lanhook's must have its configuration in the bundle", file)
	}
	return box, err
}
