// Package inject edits the bundle of a container that is about to be created, so that the runtime calls lanhook for it: a
// bundle's folder and [Options] come in, and config.json in that folder has changed, or not.
//
//	Read     config.json → Container    the annotations, with the defaults where it has none of its own
//	Edits    Container → oci.Edits      checks what is asked for; decides, and touches nothing
//	Write    oci.Edits → config.json    in one rename
//
// A container without an annotation of lanhook's is not touched at all.
package inject

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"time"

	"github.com/lanhook/lanhook/hook/oci"
	"github.com/lanhook/lanhook/policy/request"
)

// runtimeTimeout is the runtime's patience that the hook's own deadline, 20 seconds when it is not told another, goes with.
const runtimeTimeout = 30 * time.Second

// configFile is the name of a bundle's configuration.
const configFile = "config.json"

// Options say how lanhook is to be called.
type Options struct {
	// ID is the container's id, "" when the runtime was told none, which it then refuses.
	ID string
	// Lanhook is the hook's program, an absolute path.
	Lanhook string
	// Policy and StateDir are the hook's flags, "" for its defaults.
	Policy   string
	StateDir string
	// Timeout is after how long the runtime kills the hook, in whole seconds.
	Timeout time.Duration
	// Defaults are the annotations of a container that has none of its own.
	Defaults map[string]string
}

// Container is what is known of a container before it is created.
type Container struct {
	// Dir is the bundle's folder.
	Dir string
	// File is its config.json, and Config the text of it.
	File   string
	Config []byte
	// Bundle is what the config.json says.
	Bundle oci.Bundle
	// Defaults are the annotations that it gets because it has none of its own, nil for none.
	Defaults map[string]string
}

// Annotations are the container's, or the defaults in their place.
func (c Container) Annotations() map[string]string {
	if len(c.Defaults) == 0 {
		return c.Bundle.Annotations
	}
	all := maps.Clone(c.Bundle.Annotations)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, c.Defaults)
	return all
}

// Asks says whether there is anything to do for the container.
func (c Container) Asks() bool { return asks(c.Annotations()) }

func asks(annotations map[string]string) bool {
	for key := range annotations {
		if request.Ours(key) {
			return true
		}
	}
	return false
}

// Read reads the bundle in dir. defaults are the annotations of a container that has none of its own; one that shares the
// host's network namespace does not get them, since it has asked its engine for something else. Errors are an
// [*oci.Error].
func Read(dir string, defaults map[string]string) (Container, error) {
	return ReadFile(dir, filepath.Join(dir, configFile), defaults)
}

// ReadFile is [Read] of a bundle whose configuration is another file than config.json in its folder.
func ReadFile(dir, file string, defaults map[string]string) (Container, error) {
	data, err := oci.ReadConfig(file)
	if err != nil {
		return Container{}, err
	}
	b, err := oci.ParseBundle(file, data)
	if err != nil {
		return Container{}, err
	}
	c := Container{Dir: dir, File: file, Config: data, Bundle: b}
	if asks(defaults) && !asks(b.Annotations) && !hosts(b.NetNS) {
		c.Defaults = defaults
	}
	return c, nil
}

// hosts says whether a namespace is the host's, by whatever name: Docker 20.10 gives host containers a path to it. One
// that cannot be looked at is left to the hook.
func hosts(n oci.NetNS) bool {
	switch n.Kind {
	case oci.NetNSNew:
		return false
	case oci.NetNSShared:
		return true
	case oci.NetNSPath:
	}
	its, err := os.Stat(n.Path)
	if err != nil {
		return false
	}
	ours, err := os.Stat("/proc/self/ns/net")
	return err == nil && os.SameFile(its, ours)
}

// Edits are what config.json needs for what the container asks for. It reads the host, where what only a spec edit can
// give depends on it, and writes only files that belong to the container; see guest. An error is that of
// [request.ParseFor], or tells why the container cannot have what it asks for.
func (c Container) Edits(o Options) (oci.Edits, error) {
	req, err := c.request()
	if err != nil {
		return oci.Edits{}, err
	}
	e := oci.Edits{Hooks: o.hooks(), Annotations: c.Defaults}
	if err := c.guest(req, o, &e); err != nil {
		return oci.Edits{}, err
	}
	return e, nil
}

// hooks are those that call lanhook. The hook gives up before the runtime loses its patience, so that it has the time to
// take everything back.
func (o Options) hooks() *oci.Hooks {
	h := &oci.Hooks{Path: o.Lanhook, By: oci.ByRuntime, Timeout: int(o.Timeout / time.Second)}
	if o.Policy != "" {
		h.Args = append(h.Args, "--policy", o.Policy)
	}
	if o.StateDir != "" {
		h.Args = append(h.Args, "--state-dir", o.StateDir)
	}
	if o.Timeout != runtimeTimeout {
		h.Args = append(h.Args, "--timeout", (o.Timeout * 2 / 3).Truncate(time.Second).String())
	}
	return h
}

// Write edits config.json. It is replaced in one rename, keeps its mode and owner, and is left alone when there is
// nothing to change. Errors are an [*oci.Error].
func (c Container) Write(e oci.Edits) error {
	edited, err := e.Apply(c.Config)
	if err != nil {
		return fmt.Errorf("%s: %w", c.File, err)
	}
	if bytes.Equal(edited, c.Config) {
		return nil
	}
	return oci.WriteVolatile(c.File, edited)
}
