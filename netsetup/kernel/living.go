//go:build linux

package kernel

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Living are the network namespaces that could be found at one time: those of a thread, and those mounted on a file.
// One that only an open file, a socket or a mount of another mount namespace keeps is not among them; the proof of a
// namespace's end is [Host.Alive].
type Living struct {
	host *Host
	// paths by inode, those first that last longest: mounts, processes, threads.
	paths map[uint64][]string
}

// maxPaths is how many paths of one namespace are kept. The host's own has thousands.
const maxPaths = 8

// maxScans is how often [Living.Path] looks again when all that held a namespace has ended since.
const maxScans = 3

// Scan looks through all threads of /proc and the mounts of this process. It reads a file for each thread of the
// machine, so it is for rare use, once for many questions.
func (h *Host) Scan() (Living, error) {
	l := Living{host: h, paths: map[uint64][]string{}}
	if err := l.addMounts(); err != nil {
		return Living{}, err
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return Living{}, fmt.Errorf("look for network namespaces: %w", err)
	}
	entries = slices.DeleteFunc(entries, func(e os.DirEntry) bool {
		_, err := strconv.Atoi(e.Name())
		return err != nil
	})
	for _, e := range entries {
		l.add(filepath.Join("/proc", e.Name(), "ns/net"))
	}
	for _, e := range entries {
		tasks := filepath.Join("/proc", e.Name(), "task")
		threads, err := os.ReadDir(tasks)
		if err != nil || len(threads) == 1 {
			// Ended meanwhile, or of one thread, which is the process itself.
			continue
		}
		for _, t := range threads {
			l.add(filepath.Join(tasks, t.Name(), "ns/net"))
		}
	}
	return l, nil
}

// add notes the namespace of a thread. A thread may end at any time, and then is not looked at.
func (l *Living) add(path string) {
	target, err := os.Readlink(path)
	if err != nil {
		return
	}
	if inode, ok := parseNamespace(target); ok && len(l.paths[inode]) < maxPaths {
		l.paths[inode] = append(l.paths[inode], path)
	}
}

// parseNamespace reads the inode of "net:[4026531840]".
func parseNamespace(s string) (uint64, bool) {
	s, ok := strings.CutPrefix(s, "net:[")
	if !ok {
		return 0, false
	}
	s, ok = strings.CutSuffix(s, "]")
	if !ok {
		return 0, false
	}
	inode, err := strconv.ParseUint(s, 10, 64)
	return inode, err == nil
}

// addMounts notes the namespaces that are mounted on files, as ip-netns(8) does below /run/netns.
func (l *Living) addMounts() error {
	raw, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return fmt.Errorf("look for mounted network namespaces: %w", err)
	}
	for line := range strings.Lines(string(raw)) {
		// "ID PARENT MAJOR:MINOR ROOT MOUNTPOINT …", see proc_pid_mountinfo(5); ROOT is "net:[…]" for these.
		fields := strings.Fields(line)
		if len(fields) < 5 {
			continue
		}
		if inode, ok := parseNamespace(fields[3]); ok {
			l.paths[inode] = append(l.paths[inode], unescape(fields[4]))
		}
	}
	return nil
}

// unescape reads the octal escapes that mountinfo has for blank, tab, newline and backslash.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if v, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(v))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// Path is a file by which a namespace can be opened now; false when none was found, or when what has its inode today is
// another one. When all that was found has ended since, it looks again.
func (l Living) Path(id Identity) (string, bool) {
	for range maxScans {
		if len(l.paths[id.Inode]) == 0 {
			return "", false
		}
		ended := false
		for _, path := range l.paths[id.Inode] {
			found, err := l.host.identityOf(path)
			if err == nil && found == id {
				return path, true
			}
			ended = ended || err != nil
		}
		if !ended {
			return "", false
		}
		again, err := l.host.Scan()
		if err != nil {
			return "", false
		}
		l = again
	}
	return "", false
}

// identityOf opens a namespace for a look.
func (h *Host) identityOf(path string) (Identity, error) {
	n, err := h.Namespace(path)
	var own *HostNamespaceError
	switch {
	case errors.As(err, &own):
		return h.id, nil
	case err != nil:
		return Identity{}, err
	}
	return n.id, n.Close()
}
