package guest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lanhook/lanhook/netsetup/process"
)

const boot = "b007"

func newDir(t *testing.T) Dir {
	t.Helper()
	return In(filepath.Join(t.TempDir(), "state"), boot)
}

func self(t *testing.T) process.Process {
	t.Helper()
	p, err := process.Find(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// other is a process that lives until the function that comes with it is called.
func other(t *testing.T) (process.Process, func()) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "cat")
	stdin, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	p, err := process.Find(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	return p, sync.OnceFunc(func() {
		if err := errors.Join(stdin.Close(), cmd.Wait()); err != nil {
			t.Error(err)
		}
	})
}

func dead(t *testing.T) process.Process {
	t.Helper()
	p, end := other(t)
	end()
	return p
}

func files() Files {
	return Files{Hostname: "web", Hosts: []byte("127.0.0.1\tlocalhost\n"), Resolv: []byte("nameserver 192.0.2.1\n"), Names: []string{"web"}}
}

func mustMake(t *testing.T, d Dir, key string, p process.Process) []Mount {
	t.Helper()
	m, err := d.Make(t.Context(), key, files(), Owner{Bundle: "/b", Process: p})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func has(t *testing.T, d Dir, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(d.path())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("folders (-want +got):\n%s", diff)
	}
}

func content(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestKey(t *testing.T) {
	key := Key("/run/b", "c1")
	if err := CheckKey(key); err != nil {
		t.Error(err)
	}
	for _, another := range []string{Key("/run/b", "c2"), Key("/run/c", "c1"), Key("/run/bc", "1")} {
		if another == key {
			t.Errorf("two containers have the key %s", key)
		}
	}
	for _, bad := range []string{"", "0123456789abcde", "0123456789abcdef0", "0123456789abcdeg", "../../../etc/x/y", "0123456789ABCDEF"} {
		if CheckKey(bad) == nil {
			t.Errorf("%q is taken for a key", bad)
		}
	}
}

func TestMake(t *testing.T) {
	d, key := newDir(t), Key("/b", "c")
	mounts := mustMake(t, d, key, self(t))
	want := map[string]string{
		HostnamePath: "web\n", HostsPath: "127.0.0.1\tlocalhost\n127.0.1.1\tweb\n", ResolvPath: "nameserver 192.0.2.1\n",
	}
	for _, m := range mounts {
		if diff := cmp.Diff(want[m.Destination], content(t, m.Source)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", m.Destination, diff)
		}
		if info, err := os.Stat(m.Source); err != nil || info.Mode() != 0o644 {
			t.Errorf("%s has the mode %v (%v)", m.Source, info.Mode(), err)
		}
		delete(want, m.Destination)
	}
	if len(want) > 0 {
		t.Errorf("missing: %v", want)
	}
	if again, err := d.Mounts(key); err != nil || !slices.Equal(again, mounts) {
		t.Errorf("Mounts gives %v (%v)", again, err)
	}
	if none, err := d.Mounts(Key("/b", "d")); err != nil || len(none) > 0 {
		t.Errorf("Mounts of nothing gives %v (%v)", none, err)
	}
}

// Another container of one key takes the files of one that is dead, and none of one that lives.
func TestMakeAgain(t *testing.T) {
	d, key := newDir(t), Key("/b", "c")
	first, end := other(t)
	defer end()
	mustMake(t, d, key, first)
	if err := os.Mkdir(d.path(key+newSuffix), 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := d.Make(t.Context(), key, files(), Owner{Bundle: "/b", Process: self(t)})
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("the container of bundle /b runs already, as process %d", first.PID)) {
		t.Errorf("Make gave %v", err)
	}
	mustMake(t, d, key, first)
	end()
	mustMake(t, d, key, self(t))
	has(t, d, key)
}

func TestMakeFails(t *testing.T) {
	d := newDir(t)
	if _, err := d.Make(t.Context(), "../x", files(), Owner{}); err == nil {
		t.Error("a path is taken for a key")
	}
	if err := errors.Join(os.Mkdir(d.state, 0o700), os.WriteFile(d.path(), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Make(t.Context(), Key("/b", "c"), files(), Owner{Process: self(t)}); err == nil {
		t.Error("files are made in a file")
	}
	open := newDir(t)
	if err := errors.Join(os.Mkdir(open.state, 0o700), os.Chmod(open.state, 0o777)); err != nil {
		t.Fatal(err)
	}
	if _, err := open.Make(t.Context(), Key("/b", "c"), files(), Owner{Process: self(t)}); err == nil ||
		!strings.Contains(err.Error(), "others may not write to") {
		t.Errorf("a state directory of everybody's: %v", err)
	}
	late, cancel := context.WithCancel(t.Context())
	release, err := d.Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	cancel()
	if _, err := d.Make(late, Key("/b", "c"), files(), Owner{Process: self(t)}); !errors.Is(err, context.Canceled) {
		t.Errorf("Make without time gave %v", err)
	}
}

// Files go when their owner is dead, by whoever asks.
func TestRemove(t *testing.T) {
	d, key := newDir(t), Key("/b", "c")
	if err := d.Remove(t.Context(), key); err != nil {
		t.Errorf("nothing there: %v", err)
	}
	for _, bad := range []string{"..", "", "guest"} {
		if err := d.Remove(t.Context(), bad); err == nil {
			t.Errorf("%q is taken for a key", bad)
		}
	}
	mustMake(t, d, key, self(t))
	if err := d.Remove(t.Context(), key); err != nil {
		t.Error(err)
	}
	if err := d.Discard(t.Context(), key, os.Getpid()+1); err != nil {
		t.Error(err)
	}
	has(t, d, key)
	if err := d.Discard(t.Context(), key, os.Getpid()); err != nil {
		t.Error(err)
	}
	has(t, d)
	mustMake(t, d, key, self(t))
	if err := d.Adopt(t.Context(), key, dead(t)); err != nil {
		t.Error(err)
	}
	if err := d.Remove(t.Context(), key); err != nil {
		t.Error(err)
	}
	has(t, d)
	if err := d.Adopt(t.Context(), key, self(t)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nothing to adopt: %v", err)
	}
	// Of another boot, or unreadable.
	mustMake(t, In(d.state, "another"), key, self(t))
	if err := d.Remove(t.Context(), key); err != nil {
		t.Error(err)
	}
	has(t, d)
	mustMake(t, d, key, self(t))
	if err := os.WriteFile(d.path(key, ownerFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := d.Remove(t.Context(), key); err != nil {
		t.Error(err)
	}
	has(t, d)
}

func TestCollect(t *testing.T) {
	d := newDir(t)
	if got, err := d.Collect(t.Context(), nil, false); err != nil || got != nil {
		t.Errorf("nothing there: %v (%v)", got, err)
	}
	living, orphan, recorded := Key("/b", "living"), Key("/b", "orphan"), Key("/b", "recorded")
	mustMake(t, d, living, self(t))
	gone := dead(t)
	mustMake(t, d, orphan, gone)
	mustMake(t, d, recorded, gone)
	for _, name := range []string{living + newSuffix, "foreign"} {
		if err := os.Mkdir(d.path(name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	named := func([]string) (map[string]bool, error) { return map[string]bool{recorded: true}, nil }
	for _, dry := range []bool{true, false} {
		got, err := d.Collect(t.Context(), named, dry)
		if diff := cmp.Diff([]string{orphan}, got); diff != "" || err != nil {
			t.Errorf("dry %t: %v (-want +got):\n%s", dry, err, diff)
		}
	}
	want := []string{living, recorded, "foreign"}
	slices.Sort(want)
	has(t, d, want...)
	broken := errors.New("broken")
	if _, err := d.Collect(t.Context(), func([]string) (map[string]bool, error) { return nil, broken }, false); !errors.Is(err, broken) {
		t.Errorf("the records cannot be read: %v", err)
	}
	has(t, d, want...)
}

// A rewritten hosts file is the same file, and is whole at every moment.
func TestRewrite(t *testing.T) {
	d, key := newDir(t), Key("/b", "c")
	mounts := mustMake(t, d, key, self(t))
	hosts := mounts[1].Source
	before, err := os.Stat(hosts)
	if err != nil {
		t.Fatal(err)
	}
	own := Entry{addrs("192.0.2.5"), []string{"Web", "web-1"}}
	const head = "127.0.0.1\tlocalhost\n192.0.2.5\tweb web-1\n"
	stop := make(chan struct{})
	var reader sync.WaitGroup
	reader.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			data, err := os.ReadFile(hosts)
			if err != nil || !strings.HasPrefix(string(data), "127.0.0.1\tlocalhost\n") || data[len(data)-1] != '\n' || slices.Contains(data, 0) {
				t.Errorf("a reader found %q (%v)", data, err)
				return
			}
		}
	})
	many := make([]Entry, 20)
	for i := range many {
		many[i] = Entry{addrs("192.0.2.9"), []string{fmt.Sprintf("peer-%d", i)}}
	}
	for range 200 {
		for _, others := range [][]Entry{many, nil, many[:3]} {
			if err := d.Rewrite(key, own, others); err != nil {
				t.Fatal(err)
			}
		}
	}
	close(stop)
	reader.Wait()
	if diff := cmp.Diff(head+"192.0.2.9\tpeer-0\n192.0.2.9\tpeer-1\n192.0.2.9\tpeer-2\n", strings.TrimRight(content(t, hosts), "\n")+"\n"); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	after, err := os.Stat(hosts)
	if err != nil || !os.SameFile(before, after) {
		t.Errorf("it is another file (%v)", err)
	}
	if n := int64(len(Hosts(nil, own, many))); after.Size() < n {
		t.Errorf("it has got shorter than %d bytes: %d", n, after.Size())
	}
	if err := d.Rewrite(Key("/b", "none"), own, nil); err != nil {
		t.Errorf("no files: %v", err)
	}
}
