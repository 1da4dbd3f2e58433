package oci

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// maxConfig is how many bytes a config.json may have. The largest ones, of privileged pods, have some 100 kB.
const maxConfig = 16 << 20

// Bundle is what lanhook needs to know of a container's config.json.
type Bundle struct {
	// Annotations are the container's, nil for none.
	Annotations map[string]string
	Hostname    string
	// CGroupsPath is linux.cgroupsPath: a path, or "slice:prefix:name" for a runtime that asks systemd.
	CGroupsPath string
	NetNS       NetNS
	// Mounts are the destinations of the mounts in their order, absolute and in their shortest form.
	Mounts []string
	// Sources are where they come from, by the same index, as they are written; "" for none.
	Sources []string
	// Root is the path of the root file system as it is written: absolute, or from the bundle's folder on.
	Root string
}

// NetNS is the network namespace that a container gets. The zero value is the runtime's own.
type NetNS struct {
	Kind NetNSKind
	// Path is set for NetNSPath only.
	Path string
}

// NetNSKind says where a network namespace comes from.
type NetNSKind uint8

// The kinds of network namespaces.
const (
	// NetNSShared is the runtime's own, usually the host's: linux.namespaces has no network entry.
	NetNSShared NetNSKind = iota
	// NetNSNew is made with the container: there is an entry without a path.
	NetNSNew
	// NetNSPath is one that exists, perhaps the host's by another name: there is an entry with a path.
	NetNSPath
)

// ReadBundle reads config.json in dir. Fields that lanhook does not need are not looked at. Errors are an [*Error], for
// a file that is missing (then it is also an [fs.ErrNotExist]), no regular file, larger than 16 MiB or not a JSON object.
func ReadBundle(dir string) (Bundle, error) {
	if dir == "" {
		return Bundle{}, &Error{Doing: "read the bundle", Why: "the runtime told no folder"}
	}
	file := filepath.Join(dir, "config.json")
	data, err := readConfig(file)
	if err != nil {
		return Bundle{}, readError(file, err)
	}
	return ParseBundle(file, data)
}

// ReadConfig gives the text of a config.json, to be edited. Errors are as those of [ReadBundle], and a symbolic link is
// one too: the edit would replace the link.
func ReadConfig(file string) ([]byte, error) {
	f, err := openConfig(file)
	if err != nil {
		return nil, readError(file, err)
	}
	data, err := readAll(f)
	if err != nil {
		return nil, readError(file, err)
	}
	return data, nil
}

func readError(file string, err error) error {
	e := &Error{Doing: "read the bundle's " + file, Err: err}
	if errors.Is(err, fs.ErrNotExist) {
		e.Fix = "a bundle is the folder with a container's config.json"
	}
	return e
}

// ParseBundle reads the text of a config.json, which messages call file. One with a key that runtimes read differently
// is an error too. Otherwise it is as [ReadBundle].
func ParseBundle(file string, data []byte) (Bundle, error) {
	e := &Error{Doing: "read the bundle's " + file}
	if e.Why = object(data); e.Why != "" {
		return Bundle{}, e
	}
	if err := unambiguous(data); err != nil {
		e.Why = err.Error()
		return Bundle{}, e
	}
	var c struct {
		Annotations map[string]string `json:"annotations"`
		Hostname    text              `json:"hostname"`
		Mounts      []struct {
			Destination text `json:"destination"`
			Source      text `json:"source"`
		} `json:"mounts"`
		Root struct {
			Path text `json:"path"`
		} `json:"root"`
		Linux struct {
			CGroupsPath text                   `json:"cgroupsPath"`
			Namespaces  []specs.LinuxNamespace `json:"namespaces"`
		} `json:"linux"`
	}
	if err := json.Unmarshal(data, &c); err != nil {
		e.Why = reason(err, len(data))
		return Bundle{}, e
	}
	b := Bundle{Annotations: c.Annotations, Hostname: string(c.Hostname), CGroupsPath: string(c.Linux.CGroupsPath)}
	b.Root = string(c.Root.Path)
	for _, m := range c.Mounts {
		b.Mounts = append(b.Mounts, path.Join("/", string(m.Destination)))
		b.Sources = append(b.Sources, string(m.Source))
	}
	for _, ns := range c.Linux.Namespaces {
		if ns.Type != specs.NetworkNamespace {
			continue
		}
		if b.NetNS != (NetNS{}) {
			e.Why = "it has two network namespaces"
			return Bundle{}, e
		}
		b.NetNS = NetNS{Kind: NetNSNew}
		if ns.Path != "" {
			b.NetNS = NetNS{NetNSPath, ns.Path}
		}
	}
	return b, nil
}

// unambiguous refuses a config.json in which what is read here stands twice, or in upper case: crun takes the first key
// of that very name, runc and encoding/json all of them, and a null takes away what stood before. A container would start
// without what it asks for, or with more.
func unambiguous(data []byte) error {
	all, err := Members(data)
	if err != nil {
		return err
	}
	for _, name := range []string{"annotations", "hooks", "hostname", "linux", "mounts", "root"} {
		if _, _, err := One(all, name); err != nil {
			return err
		}
	}
	return nil
}

var errNotRegular = errors.New("it is not a regular file")

// readConfig reads a regular file of at most maxConfig bytes. The errors of the os package name the file, which the
// caller does, so they are taken down to the cause.
func readConfig(file string) ([]byte, error) {
	// Asked first: to open a FIFO would wait for a writer.
	info, err := os.Stat(file)
	if err != nil {
		return nil, cause(err)
	}
	if !info.Mode().IsRegular() {
		return nil, errNotRegular
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, cause(err)
	}
	return readAll(f)
}

// readAll reads an open file of at most maxConfig bytes and closes it.
func readAll(f *os.File) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, cause(err)
	}
	if len(data) > maxConfig {
		return nil, fmt.Errorf("it is longer than %d bytes", maxConfig)
	}
	return data, nil
}

// cause is an error without its path.
func cause(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err
	}
	return err
}
