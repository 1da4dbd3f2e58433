package netsetup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/lanhook/lanhook/netsetup/kernel"
	"github.com/lanhook/lanhook/netsetup/store"
	"github.com/lanhook/lanhook/policy"
	"github.com/lanhook/lanhook/policy/request"
)

// Peer is a running container whose network namespace another one joins.
type Peer struct {
	Container string
	// Path is a file by which the namespace can be opened now.
	Path  string
	NetNS kernel.Identity
	// Guest names its guest files, which the other one reads too; "" for none.
	Guest string
}

// peerError says why a container cannot be joined.
type peerError struct {
	word, why, hint string
}

func (e *peerError) Error() string {
	return fmt.Sprintf("%snetns=container:%s: %s", request.Prefix, e.word, e.why)
}

func (e *peerError) Hint() string { return e.hint }

// shortID is how long the beginning of an id must be to stand for it, as engines show it.
const shortID = 12

// Peer finds the running container that an annotation means: by its id, by the beginning of one, or by the name of its
// workload. Only containers that have a record are known.
func (s *Setup) Peer(ctx context.Context, word string) (Peer, error) {
	var found []store.Record
	err := s.Store.View(ctx, func(tx *store.Tx) (err error) {
		found, err = s.meant(tx, word)
		return err
	})
	if err != nil {
		return Peer{}, err
	}
	const known = "lanhook ls shows the containers that it knows"
	if len(found) == 0 {
		return Peer{}, &peerError{word, "lanhook knows no such container", known}
	}
	running := slices.DeleteFunc(slices.Clone(found), func(r store.Record) bool { return r.Left || !alive(r.Process) })
	if len(running) == 0 {
		return Peer{}, &peerError{word, fmt.Sprintf("container %s does not run", found[0].Container), "start it first"}
	}
	for _, rec := range running {
		if !sameContainer(&rec, &running[0]) {
			return Peer{}, &peerError{word, "this stands for more than one container", "give the whole id; " + known}
		}
	}
	rec := running[0]
	if rec.NetNS.Inode == 0 {
		return Peer{}, &peerError{word, fmt.Sprintf("container %s is in the host's network namespace", rec.Container), "ask for host"}
	}
	path, err := s.pathTo(rec)
	if err != nil {
		return Peer{}, &peerError{word: word, why: err.Error()}
	}
	return Peer{Container: rec.Container, Path: path, NetNS: identity(rec), Guest: guestOf(running)}, nil
}

// meant are the records of this boot that a word may stand for, by the first of the ways that finds any.
func (s *Setup) meant(tx *store.Tx, word string) ([]store.Record, error) {
	found, err := tx.ByContainer(word)
	if err == nil && len(found) == 0 && len(word) >= shortID && strings.Trim(word, "0123456789abcdef") == "" {
		found, err = tx.ByPrefix(word)
	}
	if err == nil && len(found) == 0 {
		found, err = byWorkload(tx, word)
	}
	return slices.DeleteFunc(found, func(r store.Record) bool {
		return r.BootID != s.BootID || r.Host != s.hostNetNS() || r.State != store.Attached
	}), err
}

// byWorkload reads all records: a name is not what they are found by, and this is rarely asked.
func byWorkload(tx *store.Tx, word string) ([]store.Record, error) {
	var found []store.Record
	for rec, err := range tx.All() {
		if err != nil {
			return nil, err
		}
		if rec.Workload == word || strings.HasSuffix(rec.Workload, "/"+word) {
			found = append(found, rec)
		}
	}
	return found, nil
}

// pathTo is a file by which the namespace of a record can be opened: its process's, else the one it was opened by. What
// stands behind a path may have changed, so each is looked at.
func (s *Setup) pathTo(rec store.Record) (string, error) {
	for _, path := range []string{fmt.Sprintf("/proc/%d/ns/net", rec.Process.PID), rec.NetNS.Path} {
		if path == "" {
			continue
		}
		ns, err := s.Host.Namespace(path)
		if err != nil {
			continue
		}
		id := ns.Identity()
		ns.Close()
		if id == identity(rec) {
			return path, nil
		}
	}
	return "", fmt.Errorf("the network namespace of container %s cannot be opened any more", rec.Container)
}

// namespace opens the container's network namespace, and refuses one that is not what a shim promised: something changed
// config.json behind its back, or another container has the name by now. It is nil for the host's, which only a
// container has that was promised it.
func (s *Setup) namespace(ctx context.Context, c Container, g policy.Guest) (*kernel.Namespace, error) {
	ns, err := s.Host.Namespace(c.NetNS)
	var hosts *kernel.HostNamespaceError
	switch {
	case g.NetNS == policy.NetNSHost && errors.As(err, &hosts):
		return nil, nil
	case err != nil:
		return nil, err
	case g.NetNS == policy.NetNSHost:
		ns.Close()
		return nil, fmt.Errorf("%snetns=host: the container was put into another network namespace than the host's",
			request.Prefix)
	case g.NetNS != policy.NetNSContainer:
		return ns, nil
	}
	peer, err := s.Peer(ctx, g.Container)
	if err == nil && peer.NetNS != ns.Identity() {
		err = &peerError{word: g.Container, why: "the container was put into another network namespace than that of " + peer.Container}
	}
	if err != nil {
		ns.Close()
		return nil, err
	}
	return ns, nil
}
