package store

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/lanhook/lanhook/netsetup/plan"
)

// Version is the version of the records that this package writes, and the only one that it reads. It changes when an
// older lanhook could not undo a newer record, or the other way round.
const Version = 4

// Record is what one attach did, or is about to do, for one container. It is written before the first change, and all
// that undoes the attach is in it.
type Record struct {
	// Version is set by [Tx.Put].
	Version int
	// ID is made by [NewID], and not that of any other record.
	ID string
	// Container is the container's id as the runtime gives it.
	Container string
	// Workload is the stable name, "" for none.
	Workload string
	State    State
	// BootID is /proc/sys/kernel/random/boot_id. Nothing of a record of another boot exists any more.
	BootID string
	// Host is the namespace that the host's side is in.
	Host  HostNetNS
	NetNS NetNS
	// Process is the container's init, zero when unknown.
	Process Process
	// Writer is the process that attaches, or detaches when the record is leaving. When it is dead, it was cut off.
	Writer Process
	// Runtime is the OCI runtime's name, "" when unknown.
	Runtime string
	// Created is to the second.
	Created time.Time
	// Steps are done in order and undone last first.
	Steps      plan.Steps
	Interfaces []plan.Interface
	// Leases are all that the record holds; [Tx.Put] gives back those that an earlier form of it held.
	Leases []Lease
	// Shared names the shared links that it uses.
	Shared []string
	// Guest names the files that were made for the container to read, "" for none.
	Guest string
	// Names are the networks on which other containers find this one by name.
	Names []string
	// Joined are the records of other containers of the namespace whose interfaces this container shares, none for one
	// that has its interfaces to itself. They may be gone.
	Joined []Ref
	// Left says that the container has stopped, and that what it has is kept for those that joined it.
	Left bool
	// Sandbox says that the container is a pod's sandbox: with its end the whole pod has ended.
	Sandbox bool
	// Warnings are what the attach warned of, a line each, for people.
	Warnings []string
}

// Ref names a record.
type Ref struct {
	Container string
	// ID is the record's id.
	ID string
}

// Ref is what names the record.
func (r *Record) Ref() Ref { return Ref{Container: r.Container, ID: r.ID} }

// String is the reference as messages have it.
func (r Ref) String() string { return r.Container + "/" + r.ID }

// State says how far an attach has come.
type State uint8

// The states of a record.
const (
	// Pending means that the steps are being done: any number of them may have been.
	Pending State = iota + 1
	// Attached means that all have been done.
	Attached
	// Leaving means that they are being undone, by the writer, where others might otherwise join the record meanwhile.
	Leaving
)

// String is the state as it is written, "" for none.
func (s State) String() string {
	switch s {
	case Pending:
		return "pending"
	case Attached:
		return "attached"
	case Leaving:
		return "leaving"
	}
	return ""
}

// NetNS identifies a network namespace.
type NetNS struct {
	// Inode is that of the nsfs file. The kernel gives it to another namespace when this one is gone.
	Inode uint64
	// Cookie is SO_NETNS_COOKIE, never given again within a boot; 0 before Linux 5.14.
	Cookie uint64
	// NSID is the id that the host's namespace knows it by, -1 for none.
	NSID int
	// Path is where it was opened, for people.
	Path string
}

// HostNetNS identifies the host's network namespace, as NetNS does the container's.
type HostNetNS struct {
	Inode  uint64
	Cookie uint64
}

// Process identifies a process: a PID is given again, the two together are not within a boot.
type Process struct {
	PID int
	// Start is field 22 of /proc/PID/stat: clock ticks since the boot.
	Start uint64
}

// idLen is the length of a record's id. Ten characters are 50 bits: with a thousand records the chance that two are
// equal is below one in two billion, and a link's name, at most 15 bytes, has room for a prefix.
const idLen = 10

// NewID makes a record's id: 10 random characters of [a-z2-7]. An id has to be another one, not a secret: this generator
// begins from the kernel's random bytes in each process, and crypto/rand would add 3 % to the program.
func NewID() string {
	const letters = "abcdefghijklmnopqrstuvwxyz234567"
	id := make([]byte, idLen)
	for i := range id {
		id[i] = letters[rand.IntN(len(letters))] //nolint:gosec // G404: see above
	}
	return string(id)
}

// maxName bounds every name in a key, far above what any runtime takes and far below what a key of bbolt may have.
const maxName = 4096

// maxValue bounds a record, far above what any attach needs.
const maxValue = 1 << 20

// DecodeRecord reads a record. The error is a [*VersionError] when another version of lanhook wrote it.
func DecodeRecord(data []byte) (Record, error) {
	var r Record
	err := plan.Decode(data, r.fields)
	if other, ok := errors.AsType[*VersionError](err); ok {
		return Record{}, other
	}
	if err == nil {
		err = r.validate()
	}
	if err != nil {
		return Record{}, fmt.Errorf("decode record: %w", err)
	}
	return r, nil
}

// encode is the inverse of DecodeRecord.
func (r *Record) encode() ([]byte, error) {
	if err := r.validate(); err != nil {
		return nil, fmt.Errorf("encode record: %w", err)
	}
	data, err := plan.Encode(r.fields)
	if err != nil {
		return nil, fmt.Errorf("encode record: %w", err)
	}
	if len(data) > maxValue {
		return nil, fmt.Errorf("encode record: it has %d bytes, more than %d", len(data), maxValue)
	}
	return data, nil
}

// version visits the version that each value begins with. Another version may differ in all that follows, which is
// not read then.
func version(c *plan.Codec, v *int) {
	c.Int(v)
	if *v != Version {
		c.Fail(&VersionError{Got: *v, Want: Version})
	}
}

// fields visits the record as the database has it, see [plan.Codec].
func (r *Record) fields(c *plan.Codec) {
	version(c, &r.Version)
	c.Text(&r.ID)
	c.Text(&r.Container)
	c.Text(&r.Workload)
	plan.Enum(c, &r.State, Leaving)
	c.Text(&r.BootID)
	c.Uint(&r.Host.Inode)
	c.Uint(&r.Host.Cookie)
	c.Uint(&r.NetNS.Inode)
	c.Uint(&r.NetNS.Cookie)
	c.Int(&r.NetNS.NSID)
	c.Text(&r.NetNS.Path)
	r.Process.fields(c)
	r.Writer.fields(c)
	c.Text(&r.Runtime)
	c.Time(&r.Created)
	c.Steps(&r.Steps)
	plan.List(c, &r.Interfaces, (*plan.Codec).Interface)
	plan.List(c, &r.Leases, func(c *plan.Codec, l *Lease) { l.fields(c) })
	plan.List(c, &r.Shared, (*plan.Codec).Text)
	c.Text(&r.Guest)
	plan.List(c, &r.Names, (*plan.Codec).Text)
	plan.List(c, &r.Joined, func(c *plan.Codec, ref *Ref) { ref.fields(c) })
	c.Flag(&r.Left)
	c.Flag(&r.Sandbox)
	plan.List(c, &r.Warnings, (*plan.Codec).Text)
}

func (r *Ref) fields(c *plan.Codec) {
	c.Text(&r.Container)
	c.Text(&r.ID)
}

func (p *Process) fields(c *plan.Codec) {
	c.Int(&p.PID)
	c.Uint(&p.Start)
}

func (r *Record) validate() error {
	if !validID(r.ID) {
		return fmt.Errorf("id %q is not %d characters of a-z and 2-7", r.ID, idLen)
	}
	if err := checkName("container id", r.Container); err != nil {
		return err
	}
	if r.State.String() == "" {
		return errors.New("it has no state")
	}
	for _, name := range r.Shared {
		if err := checkName("shared link", name); err != nil {
			return err
		}
	}
	for _, name := range r.Names {
		if err := checkName("network", name); err != nil {
			return err
		}
	}
	if r.Guest != "" {
		if err := checkName("guest files", r.Guest); err != nil {
			return err
		}
	}
	for i := range r.Interfaces {
		if err := checkName("interface", r.Interfaces[i].Name); err != nil {
			return err
		}
	}
	for _, ref := range r.Joined {
		if err := ref.validate(); err != nil {
			return err
		}
	}
	for i := range r.Leases {
		if err := r.Leases[i].validate(); err != nil {
			return err
		}
		if r.Leases[i].Ref() != r.Ref() {
			return fmt.Errorf("lease of %s belongs to another record, %s", r.Leases[i].what(), r.Leases[i].Ref())
		}
	}
	return nil
}

func (r Ref) validate() error {
	if !validID(r.ID) {
		return fmt.Errorf("joined record %q is not the id of one", r.ID)
	}
	return checkName("joined container id", r.Container)
}

func validID(id string) bool {
	foreign := func(r rune) bool { return (r < 'a' || r > 'z') && (r < '2' || r > '7') }
	return len(id) == idLen && !strings.ContainsFunc(id, foreign)
}

// checkName refuses what cannot stand in a key, where NUL ends a name.
func checkName(what, name string) error {
	switch {
	case name == "":
		return fmt.Errorf("%s is empty", what)
	case len(name) > maxName:
		return fmt.Errorf("%s has %d bytes, more than %d", what, len(name), maxName)
	case strings.ContainsRune(name, 0):
		return fmt.Errorf("%s %q has a NUL in it", what, name)
	}
	return nil
}
