package main

import (
	"errors"
	"fmt"
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
// waited for and not written to: a state directory that others may write to is refused, but the refusal is logged too.
type logFile struct{ dir string }

func (l *logFile) Write(p []byte) (int, error) {
	path := filepath.Join(l.dir, "log")
	if info, err := os.Lstat(path); err == nil && info.Size() > maxLog {
		if err := os.Rename(path, path+".old"); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return 0, fmt.Errorf("start the log anew: %w", err)
		}
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return 0, fmt.Errorf("open the log: %w", err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("write the log: %s is not a file", path)
	}
	n := 0
	if err == nil {
		n, err = f.Write(p)
	}
	return n, errors.Join(err, f.Close())
}
