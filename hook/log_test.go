package main

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestLogFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "log")
	write := func(line string) {
		t.Helper()
		if n, err := (&logFile{dir: dir}).Write([]byte(line)); err != nil || n != len(line) {
			t.Fatalf("wrote %d bytes of %d: %v", n, len(line), err)
		}
	}
	read := func(path string) string {
		t.Helper()
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	write("one\n")
	write("two\n")
	if got := read(path); got != "one\ntwo\n" {
		t.Errorf("log %q", got)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	for round := range 2 {
		full := strings.Repeat("x", maxLog) + "\n"
		write(full)
		before := read(path)
		write("new\n")
		if got := read(path); got != "new\n" {
			t.Errorf("round %d: the log does not begin anew, it has %d bytes", round, len(got))
		}
		if got := read(path + ".old"); got != before {
			t.Errorf("round %d: %d bytes are kept of %d", round, len(got), len(before))
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Errorf("%d files, %v", len(entries), err)
	}
}

// What others may have put in the log's place is not written to, and not waited for.
func TestLogFileRefused(t *testing.T) {
	for name, c := range map[string]struct {
		put  func(path string) error
		want error
	}{
		"symbolic link": {func(path string) error { return os.Symlink("other", path) }, unix.ELOOP},
		"pipe":          {func(path string) error { return unix.Mkfifo(path, 0o600) }, unix.ENXIO},
		"folder":        {func(path string) error { return os.Mkdir(path, 0o700) }, unix.EISDIR},
		"no directory":  {os.RemoveAll, fs.ErrNotExist},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "state")
			if name != "no directory" {
				if err := os.Mkdir(dir, 0o700); err != nil {
					t.Fatal(err)
				}
			}
			if err := c.put(filepath.Join(dir, "log")); err != nil {
				t.Fatal(err)
			}
			if _, err := (&logFile{dir: dir}).Write([]byte("line\n")); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			if _, err := os.Stat(filepath.Join(dir, "other")); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the link was followed: %v", err)
			}
		})
	}
}

// listen makes a socket that takes datagrams as the journal does.
func listen(t *testing.T) (fd int, path string) {
	t.Helper()
	// The path of a socket has 108 bytes at most, and that of t.TempDir may be longer than the rest of this test.
	dir, err := os.MkdirTemp("", "") //nolint:usetesting // see above
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(dir, "socket")
	fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrUnix{Name: path})
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(unix.Close(fd), os.RemoveAll(dir)); err != nil {
			t.Error(err)
		}
	})
	return fd, path
}

func TestJournal(t *testing.T) {
	fd, path := listen(t)
	log := slog.New(&journalHandler{socket: path}).With("id", "web")
	long := func(n uint64) string { return string(binary.LittleEndian.AppendUint64(nil, n)) }
	for _, c := range []struct {
		name string
		log  func()
		want string
	}{
		{
			"one line a field",
			func() { log.Info("attached", "interfaces", "eth0:lan") },
			"LANHOOK_ID=web\nLANHOOK_INTERFACES=eth0:lan\nSYSLOG_IDENTIFIER=lanhook\nPRIORITY=6\n" +
				"MESSAGE=attached id=web interfaces=eth0:lan\n",
		},
		{
			"priorities",
			func() { log.Error("no") },
			"LANHOOK_ID=web\nSYSLOG_IDENTIFIER=lanhook\nPRIORITY=3\nMESSAGE=no id=web\n",
		},
		{
			"a warning",
			func() { log.Warn("well") },
			"LANHOOK_ID=web\nSYSLOG_IDENTIFIER=lanhook\nPRIORITY=4\nMESSAGE=well id=web\n",
		},
		{
			"a line break cannot make a field",
			func() { log.Error("a\nPRIORITY=0", "status", "x\ny") },
			"LANHOOK_ID=web\nLANHOOK_STATUS\n" + long(3) + "x\ny\nSYSLOG_IDENTIFIER=lanhook\nPRIORITY=3\nMESSAGE\n" +
				long(30) + "a\nPRIORITY=0 id=web status=x\ny\n",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.log()
			buf := make([]byte, 4096)
			n, err := unix.Read(fd, buf)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, string(buf[:n])); diff != "" {
				t.Error(diff)
			}
		})
	}
	t.Run("nothing that is only for developers", func(t *testing.T) {
		log.Debug("detail")
		if n, err := unix.Read(fd, make([]byte, 64)); !errors.Is(err, unix.EAGAIN) {
			t.Errorf("%d bytes, %v", n, err)
		}
	})
}

// A journal that does not read must not hold up a container.
func TestJournalStuck(t *testing.T) {
	_, path := listen(t)
	h := &journalHandler{socket: path}
	r := slog.NewRecord(time.Time{}, slog.LevelError, strings.Repeat("x", 1000), 0)
	start := time.Now()
	var err error
	for sent := 0; err == nil; sent++ {
		if sent > 100_000 {
			t.Fatal("the socket takes everything, so this test tests nothing")
		}
		err = h.Handle(t.Context(), r)
	}
	if !errors.Is(err, unix.EAGAIN) {
		t.Errorf("got %v, want %v", err, unix.EAGAIN)
	}
	if took := time.Since(start); took > patience {
		t.Errorf("it took %s", took)
	}
}

func TestJournalGone(t *testing.T) {
	err := (&journalHandler{socket: filepath.Join(t.TempDir(), "none")}).Handle(t.Context(), slog.Record{})
	if !errors.Is(err, unix.ENOENT) {
		t.Errorf("got %v, want %v", err, unix.ENOENT)
	}
}
