package oci

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
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
	file := filepath.Join(dir, "config.json")
	e := &Error{Doing: "read the bundle's " + file}
	if dir == "" {
		e.Doing, e.Why = "read the bundle", "the runtime told no folder"
		return Bundle{}, e
	}
	data, err := readConfig(file)
	if err != nil {
		e.Err = err
		if errors.Is(err, fs.ErrNotExist) {
			e.Fix = "a bundle is the folder with a container's config.json"
		}
		return Bundle{}, e
	}
	if e.Why = object(data); e.Why != "" {
		return Bundle{}, e
	}
	var c struct {
		Annotations map[string]string `json:"annotations"`
		Hostname    text              `json:"hostname"`
		Linux       struct {
			CGroupsPath text                   `json:"cgroupsPath"`
			Namespaces  []specs.LinuxNamespace `json:"namespaces"`
		} `json:"linux"`
	}
	if err := json.Unmarshal(data, &c); err != nil {
		e.Why = reason(err, len(data))
		return Bundle{}, e
	}
	b := Bundle{Annotations: c.Annotations, Hostname: string(c.Hostname), CGroupsPath: string(c.Linux.CGroupsPath)}
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

// readConfig reads a regular file of at most maxConfig bytes. The errors of the os package name the file, which the
// caller does, so they are taken down to the cause.
func readConfig(file string) ([]byte, error) {
	// Asked first: to open a FIFO would wait for a writer.
	info, err := os.Stat(file)
	if err != nil {
		return nil, cause(err)
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("it is not a regular file")
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, cause(err)
	}
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
