package guest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/lanhook/lanhook/netsetup/process"
)

// The layout below the state directory:
//
//	guest/
//	├── KEY/             one container's, see [Key]
//	│   ├── hostname     0644, mounted into the container, as the next two are; each only where the container gets it
//	│   ├── hosts        0644, rewritten in place: what is mounted is this very file
//	│   ├── resolv.conf  0644
//	│   ├── base         0600, what stands in hosts whatever the names and addresses are
//	│   └── owner        0600, JSON, see [Owner]
//	└── KEY.new/         a folder that was being made, or removed, when who did so died
//
// A folder comes and goes as a whole, under the lock of [Dir.Lock], and hosts is written under it. The folders are for
// root alone: a mount of a file needs no way to it. Nothing of all this outlives the boot, so nothing is synced.
const (
	folder       = "guest"
	hostnameFile = "hostname"
	hostsFile    = "hosts"
	resolvFile   = "resolv.conf"
	baseFile     = "base"
	ownerFile    = "owner"
	newSuffix    = ".new"
)

// Owner says for whom a folder is.
type Owner struct {
	// Bundle is the folder with the container's config.json, for people.
	Bundle string `json:"bundle"`
	// Process made the files and then becomes the runtime that creates the container; from the hook on it is the
	// container's first process. The files of a process that is dead are nobody's, unless a record names them.
	Process process.Process `json:"process"`
	// BootID is the boot of Process.
	BootID string `json:"boot_id"`
	// Names are the container's own host names.
	Names []string `json:"names,omitempty"`
}

// Dir is the folder of all guest files of a state directory.
type Dir struct {
	state string
	// boot is the kernel's number of this boot.
	boot string
}

// In gives the guest files of a state directory. boot is the kernel's number of this boot, see [process.BootID].
func In(state, boot string) Dir { return Dir{state, boot} }

// Folder is where the files of all containers are.
func (d Dir) Folder() string { return d.path() }

func (d Dir) path(parts ...string) string {
	return filepath.Join(append([]string{d.state, folder}, parts...)...)
}

// inUseError says that the files of a container are those of one that lives.
type inUseError struct {
	bundle string
	pid    int
}

func (e *inUseError) Error() string {
	return fmt.Sprintf("the container of bundle %s runs already, as process %d", e.bundle, e.pid)
}

func (e *inUseError) Hint() string { return "give the new container another id" }

// hold is [Dir.Lock] for a change of one container's files.
func (d Dir) hold(ctx context.Context, key string) (release func(), err error) {
	if err := CheckKey(key); err != nil {
		return nil, err
	}
	return d.Lock(ctx)
}

// Make writes the files of a container, and gives their mounts. Files of an earlier container of the same key are
// replaced; those of one that lives are left alone, and are an error.
func (d Dir) Make(ctx context.Context, key string, f Files, o Owner) ([]Mount, error) {
	release, err := d.hold(ctx, key)
	if err != nil {
		return nil, err
	}
	defer release()
	was, err := d.owner(key)
	if err == nil && d.alive(was) && was.Process != o.Process {
		return nil, &inUseError{was.Bundle, was.Process.PID}
	}
	o.BootID, o.Names = d.boot, f.Names
	if err := d.fill(key+newSuffix, f, o); err != nil {
		return nil, errors.Join(err, os.RemoveAll(d.path(key+newSuffix)))
	}
	if err := os.RemoveAll(d.path(key)); err != nil {
		return nil, fmt.Errorf("remove earlier guest files: %w", err)
	}
	if err := os.Rename(d.path(key+newSuffix), d.path(key)); err != nil {
		return nil, fmt.Errorf("make guest files: %w", err)
	}
	return f.mounts(d.path(key)), nil
}

// Mounts are those of the files that a container has already, none when there are none.
func (d Dir) Mounts(key string) ([]Mount, error) {
	if err := CheckKey(key); err != nil {
		return nil, err
	}
	var out []Mount
	for _, m := range (Files{Hostname: "x", Hosts: []byte{}, Resolv: []byte{}}).mounts(d.path(key)) {
		_, err := os.Lstat(m.Source)
		if err == nil {
			out = append(out, m)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("look for guest files: %w", err)
		}
	}
	return out, nil
}

// fill makes a folder with its files.
func (d Dir) fill(name string, f Files, o Owner) error {
	if err := os.RemoveAll(d.path(name)); err != nil {
		return fmt.Errorf("remove guest files that were being made: %w", err)
	}
	if err := os.MkdirAll(d.path(name), 0o700); err != nil {
		return fmt.Errorf("make the folder of guest files: %w", err)
	}
	owner, err := json.Marshal(o)
	if err != nil {
		return fmt.Errorf("write the owner of guest files: %w", err)
	}
	type file struct {
		name string
		data []byte
		mode os.FileMode
	}
	files := []file{{ownerFile, owner, 0o600}}
	if f.Hostname != "" {
		files = append(files, file{hostnameFile, []byte(f.Hostname + "\n"), 0o644})
	}
	if f.Hosts != nil {
		whole := Hosts(f.Hosts, Entry{Names: f.Names}, nil)
		files = append(files, file{baseFile, f.Hosts, 0o600}, file{hostsFile, whole, 0o644})
	}
	if f.Resolv != nil {
		files = append(files, file{resolvFile, f.Resolv, 0o644})
	}
	for _, one := range files {
		if err := writeNew(d.path(name, one.name), one.data, one.mode); err != nil {
			return fmt.Errorf("write guest files: %w", err)
		}
	}
	return nil
}

// writeNew writes a file that is not there yet, with this very mode.
func writeNew(name string, data []byte, mode os.FileMode) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Chmod(mode), f.Close())
}

// owner reads for whom a folder is.
func (d Dir) owner(key string) (Owner, error) {
	data, err := readSmall(d.path(key, ownerFile))
	if err != nil {
		return Owner{}, err
	}
	var o Owner
	if err := json.Unmarshal(data, &o); err != nil {
		return Owner{}, fmt.Errorf("read %s: %w", d.path(key, ownerFile), err)
	}
	return o, nil
}

func (d Dir) alive(o Owner) bool { return o.BootID == d.boot && o.Process.PID > 0 && o.Process.Alive() }

// Adopt gives the files to the container's first process: from now on it is that one's end that frees them. The error
// says fs.ErrNotExist when there are none.
func (d Dir) Adopt(ctx context.Context, key string, p process.Process) error {
	release, err := d.hold(ctx, key)
	if err != nil {
		return err
	}
	defer release()
	o, err := d.owner(key)
	if err == nil {
		o.Process, o.BootID = p, d.boot
		err = d.setOwner(key, o)
	}
	if err != nil {
		return fmt.Errorf("take over the guest files: %w", err)
	}
	return nil
}

// setOwner replaces what [Dir.owner] reads, in one rename.
func (d Dir) setOwner(key string, o Owner) error {
	data, err := json.Marshal(o)
	if err != nil {
		return err
	}
	next := d.path(key, ownerFile+newSuffix)
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := writeNew(next, data, 0o600); err != nil {
		return err
	}
	return os.Rename(next, d.path(key, ownerFile))
}

// Remove removes the files of a container. Those whose owner lives stay: they are of a later container of the same key,
// or of one that runs on without its interfaces. What is not there is no error.
func (d Dir) Remove(ctx context.Context, key string) error {
	return d.remove(ctx, key, func(o Owner) bool { return !d.alive(o) })
}

// Discard removes files whose owner is one of these processes, though it still lives: of a container that is not created
// after all.
func (d Dir) Discard(ctx context.Context, key string, pids ...int) error {
	return d.remove(ctx, key, func(o Owner) bool { return !d.alive(o) || slices.Contains(pids, o.Process.PID) })
}

func (d Dir) remove(ctx context.Context, key string, may func(Owner) bool) error {
	release, err := d.hold(ctx, key)
	if err != nil {
		return err
	}
	defer release()
	o, err := d.owner(key)
	if err == nil && !may(o) {
		return nil
	}
	// Without a readable owner they are nobody's.
	return d.drop(key)
}

// drop removes a folder as a whole, whose lock the caller holds: first its name, so that nobody finds half of it.
func (d Dir) drop(key string) error {
	err := os.RemoveAll(d.path(key + newSuffix))
	if err == nil {
		err = os.Rename(d.path(key), d.path(key+newSuffix))
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = os.RemoveAll(d.path(key + newSuffix))
	}
	if err != nil {
		return fmt.Errorf("remove guest files: %w", err)
	}
	return nil
}

// Collect removes folders that are nobody's: named says which keys records name, and the owners of the others are dead.
// It gives back the keys. With dry it only finds them.
func (d Dir) Collect(ctx context.Context, named func([]string) (map[string]bool, error), dry bool) ([]string, error) {
	if _, err := os.Lstat(d.path()); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	release, err := d.Lock(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	entries, err := os.ReadDir(d.path())
	if err != nil {
		return nil, fmt.Errorf("look for guest files: %w", err)
	}
	var keys []string
	var errs []error
	for _, e := range entries {
		half, isNew := strings.CutSuffix(e.Name(), newSuffix)
		switch {
		case isNew && CheckKey(half) == nil && !dry:
			// Under the lock nobody is making one.
			errs = append(errs, os.RemoveAll(d.path(e.Name())))
		case CheckKey(e.Name()) == nil:
			keys = append(keys, e.Name())
		}
	}
	inUse, err := named(keys)
	if err != nil {
		return nil, errors.Join(append(errs, err)...)
	}
	var removed []string
	for _, key := range keys {
		if o, err := d.owner(key); inUse[key] || err == nil && d.alive(o) {
			continue
		}
		if !dry {
			if err := d.drop(key); err != nil {
				errs = append(errs, err)
				continue
			}
		}
		removed = append(removed, key)
	}
	return removed, errors.Join(errs...)
}

// Rewrite writes the hosts file of a container, whose lock the caller holds: its own names go with its addresses, and the
// others stand behind it. A container without a hosts file of ours, or whose files are gone, is left alone.
//
// The file stays the same one, since it is mounted. A reader never finds it empty or cut off: it never gets shorter, but
// ends in blank lines, and these are written before what takes their place. Cut off at a new end, a tmpfs would show NUL
// bytes to who reads up to the old one; grown by what is written, it ends within a line to who knows only the old size.
func (d Dir) Rewrite(key string, own Entry, others []Entry) error {
	if err := CheckKey(key); err != nil {
		return err
	}
	fixed, err := readSmall(d.path(key, baseFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	o, err := d.owner(key)
	if err != nil {
		return err
	}
	names := append([]string{}, o.Names...)
	reserved := map[string]bool{}
	reserve(reserved, names)
	for _, n := range own.Names {
		if !reserved[strings.ToLower(n)] {
			names = append(names, n)
		}
	}
	own.Names = names
	return rewrite(d.path(key, hostsFile), Hosts(fixed, own, others))
}

func rewrite(name string, content []byte) error {
	f, err := os.OpenFile(name, os.O_RDWR|unix.O_NOFOLLOW, 0)
	if err != nil {
		return fmt.Errorf("rewrite %s: %w", name, err)
	}
	old, err := read(f)
	if more := len(content) - len(old); err == nil && more > 0 {
		_, err = f.WriteAt(bytes.Repeat([]byte{'\n'}, more), int64(len(old)))
	}
	if less := len(old) - len(content); less > 0 {
		content = slices.Concat(content, bytes.Repeat([]byte{'\n'}, less))
	}
	if err == nil && !bytes.Equal(old, content) {
		_, err = f.WriteAt(content, 0)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("rewrite %s: %w", name, err)
	}
	return nil
}
