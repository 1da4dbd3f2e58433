package guest

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// Host is what the host's own files say; nil for a file that is not there.
type Host struct {
	// Resolv is /etc/resolv.conf.
	Resolv []byte
	// Resolved is the list of name servers that systemd-resolved asks itself.
	Resolved []byte
	Hosts    []byte
}

// Places are where the host's files are. "" is the usual place.
type Places struct{ Resolv, Resolved, Hosts string }

// maxFile bounds what is read of a file of the host's. glibc reads lines of some hundred bytes; ad blockers in a hosts
// file have some megabytes.
const maxFile = 4 << 20

// ReadHost reads the host's files. A file that is not there says nothing; one that is no file or cannot be read is an
// error.
func ReadHost(p Places) (Host, error) {
	var h Host
	for _, f := range []struct {
		path, usual string
		into        *[]byte
	}{
		{p.Resolv, ResolvPath, &h.Resolv},
		{p.Resolved, "/run/systemd/resolve/resolv.conf", &h.Resolved},
		{p.Hosts, HostsPath, &h.Hosts},
	} {
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
