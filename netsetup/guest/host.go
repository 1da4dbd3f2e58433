package guest

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"github.com/lanhook/lanhook/policy"
)

// Host is what the host's own files say; nil for a file that is not there.
type Host struct {
	// Resolv is /etc/resolv.conf.
	Resolv []byte
	// Resolved is the list of name servers that systemd-resolved asks itself.
	Resolved []byte
	// Hosts is /etc/hosts, for a container in the host's network namespace.
	Hosts []byte
}

// Places are where the host's files are. "" is the usual place.
type Places struct{ Resolv, Resolved, Hosts string }

// maxFile bounds what is read of a file of the host's. glibc reads lines of some hundred bytes; ad blockers in a hosts
// file have some megabytes.
const maxFile = 4 << 20

// ReadHost reads those of the host's files that matter to a container in such a namespace. A file that is not there says
// nothing; one that is no file, is too long or cannot be read is an error.
func ReadHost(netns policy.NetNSKind, p Places) (Host, error) {
	type file struct {
		path, usual string
		into        *[]byte
	}
	var h Host
	files := []file{
		{p.Resolv, ResolvPath, &h.Resolv},
		{p.Resolved, "/run/systemd/resolve/resolv.conf", &h.Resolved},
	}
	if netns == policy.NetNSHost {
		files = append(files, file{p.Hosts, HostsPath, &h.Hosts})
	}
	for _, f := range files {
		if f.path == "" {
			f.path = f.usual
		}
		data, err := readSmall(f.path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return Host{}, err
		}
		*f.into = data
	}
	return h, nil
}

// readSmall reads a regular file of at most maxFile bytes. A FIFO does not make it wait.
func readSmall(name string) ([]byte, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	data, err := read(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return data, nil
}

func read(f *os.File) ([]byte, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("it is not a regular file")
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("it is longer than %d bytes", maxFile)
	}
	return data, err
}
