package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// maxLog is the size at which the log file starts anew; the one before is kept as log.old.
const maxLog = 1 << 20

// logTo writes the hook's events: to the journal where there is one, else to the file log in the state directory. crun
// shows nobody what a hook prints, so this is where the reason stands.
func logTo(stateDir string) slog.Handler {
	if hasJournal() {
		return &journalHandler{socket: journalSocket}
	}
	return slog.NewTextHandler(&logFile{dir: stateDir}, nil)
}

// logFile is opened anew for each line: a hook writes one. What stands in its place and is no file is not followed, not
// waited for and not written to: a state directory that others may write to is refused, but the refusal is logged too. It
// is no os.File, which would set the runtime's poller up for this one line.
type logFile struct{ dir string }

func (l *logFile) Write(p []byte) (int, error) {
	path := filepath.Join(l.dir, "log")
	if info, err := os.Lstat(path); err == nil && info.Size() > maxLog {
		if err := os.Rename(path, path+".old"); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return 0, fmt.Errorf("start the log anew: %w", err)
		}
	}
	const flags = unix.O_WRONLY | unix.O_APPEND | unix.O_CREAT | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC
	fd, err := unix.Open(path, flags, 0o600)
	if err != nil {
		return 0, fmt.Errorf("open the log: %w", &fs.PathError{Op: "open", Path: path, Err: err})
	}
	n := 0
	var info unix.Stat_t
	if err = unix.Fstat(fd, &info); err == nil && info.Mode&unix.S_IFMT != unix.S_IFREG {
		err = fmt.Errorf("%s is not a file", path)
	}
	if err == nil {
		if n, err = unix.Write(fd, p); err == nil && n < len(p) {
			err = io.ErrShortWrite
		}
	}
	if err = errors.Join(err, unix.Close(fd)); err != nil {
		return max(n, 0), fmt.Errorf("write the log: %w", err)
	}
	return n, nil
}
