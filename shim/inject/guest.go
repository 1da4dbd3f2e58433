package inject

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/lanhook/lanhook/hook/oci"
	"github.com/lanhook/lanhook/netsetup/guest"
	"github.com/lanhook/lanhook/netsetup/process"
	"github.com/lanhook/lanhook/policy"
	"github.com/lanhook/lanhook/policy/request"
)

// defaultStateDir is the hook's.
const defaultStateDir = "/run/lanhook"

// patience bounds the wait for others who change guest files or records. They need milliseconds.
const patience = 10 * time.Second

// guest adds to an edit what only a spec edit can give a container: another network namespace, a host name, files such
// as resolv.conf and hosts, and the hook's arguments that tell it of them. The policy decides, as it does again for the
// hook, which then knows all of the container.
func (c Container) guest(req request.Request, o Options, e *oci.Edits) error {
	p, err := policy.Load(o.Policy)
	if err != nil {
		return err
	}
	var g policy.Guest
	who := c.subject(o)
	attachments, err := p.Decide(req, who)
	if err == nil {
		g, err = p.DecideGuest(req, who, attachments)
	}
	var denied *policy.DeniedError
	if errors.As(err, &denied) && len(req.ShimOnly()) == 0 && p.MatchesCGroup() {
		return nil // the hook knows the cgroup, and refuses, or does not
	}
	if err != nil || g.Rule == "" {
		return err
	}
	boot, err := process.BootID()
	if err != nil {
		return err
	}
	dir := o.StateDir
	if dir == "" {
		dir = defaultStateDir
	}
	w := guestWork{Container: c, options: o, guest: g, dir: guest.In(dir, boot)}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return w.edit(ctx, e)
}

// request is what the container asks for, as the hook will read it.
func (c Container) request() (request.Request, error) {
	engine, _ := oci.Origin(c.Dir)
	return request.ParseFor(engine, c.Annotations())
}

// subject is who asks, as far as it is known before the container is created: its cgroup is the one that its config.json
// asks for.
func (c Container) subject(o Options) policy.Subject {
	engine, namespace := oci.Origin(c.Dir)
	name, named := oci.Workload(c.Annotations()[request.Prefix+"name"], c.Annotations(), o.ID, engine)
	return policy.Subject{
		ID: o.ID, Annotations: c.Annotations(), Engine: engine, Namespace: namespace, Bundle: c.Dir,
		CGroup: cgroup(c.Bundle.CGroupsPath), Name: name, Named: named,
	}
}

// cgroup is the cgroup's path that linux.cgroupsPath asks for: a path, or "slice:prefix:name" for one that systemd makes,
// where a-b.slice lies in a.slice (systemd.slice(5)).
func cgroup(path string) string {
	parts := strings.Split(path, ":")
	if len(parts) != 3 {
		return path
	}
	slice, unit := parts[0], parts[2]+".scope"
	if parts[1] != "" {
		unit = parts[1] + "-" + unit
	}
	if slice == "" {
		slice = "system.slice"
	}
	var above []string
	name := strings.TrimSuffix(slice, ".slice")
	for i, r := range name {
		if r == '-' && i > 0 {
			above = append(above, name[:i]+".slice")
		}
	}
	return "/" + strings.Join(append(above, slice, unit), "/")
}

// guestWork is what one container is given.
type guestWork struct {
	Container
	options Options
	guest   policy.Guest
	dir     guest.Dir
}

func (w guestWork) edit(ctx context.Context, e *oci.Edits) error {
	e.Hostname, e.Folder = w.guest.Hostname, w.dir.Folder()
	switch w.guest.NetNS {
	case policy.NetNSDefault:
	case policy.NetNSHost:
		e.NetNS = &oci.NetNS{Kind: oci.NetNSShared}
	case policy.NetNSNone:
		e.NetNS = &oci.NetNS{Kind: oci.NetNSNew}
	case policy.NetNSContainer:
		return nil // see Container.Joins
	}
	host, err := guest.ReadHost(w.guest.NetNS, guest.Places{})
	if err != nil {
		return err
	}
	f := guest.Decide(w.guest, w.spec(), host)
	if len(f.Kept) > 0 {
		e.Hooks.Args = append(e.Hooks.Args, "--kept", strings.Join(f.Kept, ","))
	}
	if f.Empty() {
		return nil
	}
	self, err := process.Find(os.Getpid())
	if err != nil {
		return err
	}
	key := guest.Key(w.Dir, w.options.ID)
	mounts, err := w.dir.Make(ctx, key, f, guest.Owner{Bundle: w.Dir, Process: self})
	if err != nil {
		return err
	}
	e.Hooks.Args = append(e.Hooks.Args, "--guest", key)
	for _, m := range mounts {
		e.Mounts = append(e.Mounts, oci.Mount{Destination: m.Destination, Source: m.Source})
	}
	return nil
}

// Joins is the container whose network namespace this one asks for, by the word of its annotation; ok is false for
// none. Where that namespace is only the records tell, which a shim does not read: lanhook writes it into config.json,
// as the last before the runtime.
func (c Container) Joins() (word string, ok bool) {
	req, err := c.request()
	if err != nil {
		return "", false
	}
	return strings.CutPrefix(req.NetNS, "container:")
}

// spec is what config.json says, without what an earlier edit of the same file left.
func (w guestWork) spec() guest.Spec {
	s := guest.Spec{Hostname: w.Bundle.Hostname}
	for i, destination := range w.Bundle.Mounts {
		if !strings.HasPrefix(w.Bundle.Sources[i], w.dir.Folder()+"/") {
			s.Mounts = append(s.Mounts, destination)
		}
	}
	for _, file := range []string{guest.ResolvPath, guest.HostsPath} {
		if !w.hasPlace(file) {
			s.NoPlace = append(s.NoPlace, file)
		}
	}
	return s
}

// readOnly is ST_RDONLY of statfs(2).
const readOnly = 1

// hasPlace says whether a file can be mounted in the root file system: it is there, or the runtime can make it. What
// cannot be looked at can.
func (w guestWork) hasPlace(file string) bool {
	root := w.Bundle.Root
	if !path.IsAbs(root) {
		root = filepath.Join(w.Dir, root)
	}
	if _, err := os.Lstat(filepath.Join(root, file)); !errors.Is(err, fs.ErrNotExist) {
		return true
	}
	var stat syscall.Statfs_t
	return syscall.Statfs(root, &stat) != nil || stat.Flags&readOnly == 0
}
