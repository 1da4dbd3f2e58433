package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/lanhook/lanhook/netsetup"
	"github.com/lanhook/lanhook/netsetup/kernel"
	"github.com/lanhook/lanhook/netsetup/process"
	"github.com/lanhook/lanhook/netsetup/store"
)

// records reads all records; a host on which nothing was ever attached has none.
func (a *app) records(ctx context.Context) ([]store.Record, error) {
	s, err := store.Open(a.stateDir)
	if err != nil {
		return nil, err
	}
	var records []store.Record
	err = s.View(ctx, func(tx *store.Tx) error {
		records = records[:0]
		for rec, err := range tx.All() {
			if err != nil {
				return err
			}
			records = append(records, rec)
		}
		return nil
	})
	return records, err
}

// recordsOf finds the records of the one container that the administrator means: by the path of its namespace, by its
// id or that of a process in it, by what a runtime says, by the beginning of its id, and only then by its workload's name,
// which a container gives itself.
func (a *app) recordsOf(ctx context.Context, word string) ([]store.Record, error) {
	all, err := a.records(ctx)
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(word, "/") {
		return recordsAt(all, word)
	}
	found := where(all, func(r store.Record) bool { return r.Container == word })
	if pid, err := strconv.Atoi(word); err == nil && pid > 0 {
		if _, err := process.Find(pid); err == nil {
			return byNumber(all, found, word, pid)
		}
	}
	if len(found) > 0 {
		return one(word, found)
	}
	if pid, _, err := runtimePID(word); err == nil {
		if found, err = recordsAt(all, netnsOf(pid)); err != nil {
			return nil, err
		}
		// Another container's record says that the runtime's state is an old one.
		found = where(found, func(r store.Record) bool { return strings.ContainsAny(r.Container, ":/") })
	}
	const least = 4
	if len(found) == 0 && len(word) >= least {
		found = where(all, func(r store.Record) bool { return strings.HasPrefix(r.Container, word) })
	}
	if len(found) == 0 {
		found = where(all, func(r store.Record) bool { return r.Workload == word })
	}
	return one(word, found)
}

// byNumber finds records by a number that is a process's. One that is another container's id as well is refused.
func byNumber(all, byID []store.Record, word string, pid int) ([]store.Record, error) {
	found, err := recordsAt(all, netnsOf(pid))
	if err != nil {
		return nil, err
	}
	for _, rec := range byID {
		if !slices.ContainsFunc(found, func(r store.Record) bool { return r.Ref() == rec.Ref() }) {
			return nil, ambiguous(word)
		}
	}
	return found, nil
}

func netnsOf(pid int) string { return fmt.Sprintf("/proc/%d/ns/net", pid) }

func ambiguous(word string) error {
	return &usageError{
		msg:  fmt.Sprintf("%q stands for more than one container", word),
		hint: "give the whole id, the path of its network namespace, or a process in it; see lanhook ls --json",
	}
}

func where(all []store.Record, is func(store.Record) bool) []store.Record {
	return slices.DeleteFunc(slices.Clone(all), func(r store.Record) bool { return !is(r) })
}

// one refuses records of several containers: two engines may have one id, and any number of containers a name.
func one(word string, found []store.Record) ([]store.Record, error) {
	for _, rec := range found {
		if rec.Container != found[0].Container || rec.NetNS.Cookie != found[0].NetNS.Cookie {
			return nil, ambiguous(word)
		}
	}
	return found, nil
}

// recordsAt finds records by the path of their namespace.
func recordsAt(all []store.Record, path string) ([]store.Record, error) {
	host, err := kernel.Open()
	if err != nil {
		return nil, err
	}
	defer host.Close()
	ns, err := host.Namespace(path)
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	id := ns.Identity()
	return where(all, func(r store.Record) bool { return r.NetNS.Inode == id.Inode && r.NetNS.Cookie == id.Cookie }), nil
}

// running finds a running container by what the administrator typed: the path of a network namespace, a process id, or
// a container id. One that has records keeps their id, so that its end takes back what it is given now.
func (a *app) running(ctx context.Context, word string) (netsetup.Container, error) {
	records, err := a.recordsOf(ctx, word)
	if err != nil {
		return netsetup.Container{}, err
	}
	c, err := a.target(word, records)
	if err != nil || len(records) == 0 {
		return c, err
	}
	rec := records[0]
	for _, r := range records {
		if process.Process(r.Process) == c.Process {
			rec = r
		}
	}
	c.ID, c.Workload, c.Runtime = rec.Container, rec.Workload, rec.Runtime
	if c.Process == (process.Process{}) {
		c.Process = process.Process(rec.Process)
	}
	return c, nil
}

// target is the namespace, and the process, that a word stands for. A container that is known by neither a runtime nor a
// record has an id that no runtime gives, since it has a character that is in none.
func (a *app) target(word string, records []store.Record) (netsetup.Container, error) {
	if strings.HasPrefix(word, "/") {
		if pid, ok := processIn(word); ok {
			return byProcess("pid:"+strconv.Itoa(pid), pid)
		}
		return netsetup.Container{ID: word, NetNS: word, Runtime: engineOf(word)}, nil
	}
	if pid, err := strconv.Atoi(word); err == nil && pid > 0 {
		if _, err := process.Find(pid); err == nil || len(records) == 0 {
			return byProcess("pid:"+word, pid)
		}
	}
	for _, rec := range records {
		if process.Process(rec.Process).Alive() {
			return byProcess(rec.Container, rec.Process.PID)
		}
	}
	pid, engine, err := runtimePID(word)
	if err != nil {
		return netsetup.Container{}, err
	}
	c, err := byProcess(word, pid)
	c.Runtime = engine
	return c, err
}

// processIn is PID of the path /proc/PID/ns/net.
func processIn(path string) (int, bool) {
	pid, ok := strings.CutPrefix(path, "/proc/")
	if !ok {
		return 0, false
	}
	pid, ok = strings.CutSuffix(pid, "/ns/net")
	n, err := strconv.Atoi(pid)
	return n, ok && err == nil
}
