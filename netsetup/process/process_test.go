//go:build linux

package process

import (
	"errors"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseStat(t *testing.T) {
	const rest = " S 1 1 1 0 -1 4194560 10 20 30 40 1 2 3 4 20 0 1 0 4711 100 200 18446744073709551615"
	for name, c := range map[string]struct {
		raw   string
		want  Process
		state string
		bad   bool
	}{
		"ordinary":                    {raw: "7 (cat)" + rest, want: Process{7, 4711}, state: "S"},
		"blanks in the command":       {raw: "7 (a b)" + rest, want: Process{7, 4711}, state: "S"},
		"a command like its own stat": {raw: "7 (x) R 1 1)" + rest, want: Process{7, 4711}, state: "S"},
		"newline in the command":      {raw: "7 (x\n)" + rest + "\n", want: Process{7, 4711}, state: "S"},
		"zombie":                      {raw: "7 (cat) Z" + rest[2:], want: Process{7, 4711}, state: "Z"},
		"empty":                       {raw: "", bad: true},
		"no command":                  {raw: "7 cat" + rest, bad: true},
		"cut off":                     {raw: "7 (cat) S 1 1 1", bad: true},
		"start is no number":          {raw: "7 (cat) S 1 1 1 0 -1 4194560 10 20 30 40 1 2 3 4 20 0 1 0 x 1", bad: true},
	} {
		t.Run(name, func(t *testing.T) {
			got, state, err := parseStat(7, []byte(c.raw))
			if (err != nil) != c.bad {
				t.Fatalf("error %v, want one: %v", err, c.bad)
			}
			if diff := cmp.Diff(c.want, got); diff != "" || state != c.state {
				t.Errorf("state %q, want %q; process (-want +got):\n%s", state, c.state, diff)
			}
		})
	}
}

func TestProcess(t *testing.T) {
	self, err := Find(os.Getpid())
	if err != nil || !self.Alive() || self.Start == 0 {
		t.Errorf("this process is %+v (%v), want it alive", self, err)
	}
	if (Process{PID: self.PID, Start: self.Start + 1}).Alive() {
		t.Error("a process with another start is taken for it")
	}
	if _, err := Find(math.MaxInt32); !errors.Is(err, fs.ErrNotExist) || err.Error() != "there is no process 2147483647" {
		t.Errorf("error %v, want that there is none", err)
	}
	if (Process{}).Alive() {
		t.Error("no process at all is alive")
	}
}

func TestZombieIsNotAlive(t *testing.T) {
	cmd := exec.Command("cat")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p, err := Find(cmd.Process.Pid)
	if err != nil || !p.Alive() {
		t.Errorf("process %+v (%v), want it alive", p, err)
	}
	if err := stdin.Close(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(5 * time.Second); p.Alive(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("a zombie is alive")
		}
	}
	if _, err := Find(p.PID); err != nil {
		t.Errorf("the zombie is gone already: %v", err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

func TestBootID(t *testing.T) {
	id, err := BootID()
	if err != nil || !regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`).MatchString(id) {
		t.Errorf("boot %q (%v), want a UUID", id, err)
	}
}

func TestReadFile(t *testing.T) {
	for name, c := range map[string]struct {
		size int
		fits bool
	}{
		"empty": {0, true}, "small": {100, true}, "of a page": {4096, true}, "of some pages": {3 * 4096, true},
		"just too large": {64 << 10, false}, "large": {1 << 20, false},
	} {
		t.Run(name, func(t *testing.T) {
			want := strings.Repeat("x", c.size)
			path := filepath.Join(t.TempDir(), "file")
			if err := os.WriteFile(path, []byte(want), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := ReadFile(path)
			if (err == nil) != c.fits {
				t.Fatalf("error %v, want none: %v", err, c.fits)
			}
			if c.fits && string(got) != want {
				t.Errorf("%d bytes, want %d", len(got), len(want))
			}
		})
	}
	if _, err := ReadFile(filepath.Join(t.TempDir(), "nothing")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v, want fs.ErrNotExist", err)
	}
}
