//go:build linux

package kernel

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// Error is something that could not be done. Its message names what was done and to what, and keeps the text of the
// kernel's extended acknowledgement. The kernel's error number is found with errors.Is.
type Error struct {
	// Op is what was being done, to what: "add macvlan lh-x7k2 to ens192".
	Op string
	// Cause is the likely reason in words, "" where the kernel's say enough.
	Cause string
	Err   error
	hint  string
}

func (e *Error) Error() string {
	if e.Cause == "" {
		return fmt.Sprintf("%s: %v", e.Op, e.Err)
	}
	return fmt.Sprintf("%s: %s: %v", e.Op, e.Cause, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// Hint says what would help, "" for nothing.
func (e *Error) Hint() string { return e.hint }

// HostNamespaceError is the refusal to work inside the host's own network namespace as if it were a container's.
type HostNamespaceError struct {
	// Path is the file by which the namespace was to be opened.
	Path string
}

func (e *HostNamespaceError) Error() string {
	return fmt.Sprintf("open network namespace %s: it is the host's own", e.Path)
}

// Hint says what would help.
func (e *HostNamespaceError) Hint() string {
	return "start the container with a network namespace of its own, or take its lanhook annotations away"
}

// oneUserHint helps where a parent has another kind of users.
const oneUserHint = "a link cannot be a macvlan parent and an ipvlan parent, a bridge port or a bond member at once"

// passthruHint helps where a parent has, or is to have, a child in passthru mode.
const passthruHint = "give the network another link or a VLAN of its own, or end the container that has the other child: lanhook ls"

// takenHint helps where the engine gave the container an eth0, and where somebody else did.
const takenHint = "start it without the engine's own network (--network none), " +
	"or ask for another name, as a pod has to: io.lanhook.network.NAME"

// NameTakenError says that the container has an interface of the name already that one of ours was to get.
type NameTakenError struct {
	Name string
	Err  error
}

func (e *NameTakenError) Error() string {
	return fmt.Sprintf("name the container's interface %s: the container has an interface of this name already: %v",
		e.Name, e.Err)
}

func (e *NameTakenError) Unwrap() error { return e.Err }

// Hint says what would help.
func (e *NameTakenError) Hint() string { return takenHint }

// failed says what was being done when err came, and passes nil through. It knows the causes that are the same for
// every request.
func failed(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	e := &Error{Op: fmt.Sprintf(format, args...), Err: err}
	switch {
	case errors.Is(err, unix.EPERM):
		e.Cause = "needs CAP_NET_ADMIN in the host's user namespace"
		e.hint = "run as root; a rootless engine's containers cannot be plugged into the host's links"
	case errors.Is(err, unix.EOPNOTSUPP):
		e.Cause = "the kernel lacks this feature or its module"
		e.hint = "use a kernel that has it; lanhook doctor says what is missing"
	}
	return e
}

// noKind is failed for a link of a kind that the kernel may not have: it loads the kind's module by itself, and says EOPNOTSUPP
// when there is none (net/core/rtnetlink.c, __rtnl_newlink).
func noKind(err error, kind, format string, args ...any) error {
	if !errors.Is(err, unix.EOPNOTSUPP) {
		return failed(err, format, args...)
	}
	module, option := moduleOf(kind)
	return &Error{
		Op: fmt.Sprintf(format, args...), Cause: "the kernel has no links of kind " + kind, Err: err,
		hint: fmt.Sprintf("load the module: modprobe %s; where there is none, use a kernel with %s, or install the rest of its modules",
			module, option),
	}
}

// moduleOf is the module that brings a kind of links, and the option that a kernel is built with to have it.
func moduleOf(kind string) (module, option string) {
	switch kind {
	case kindVLAN:
		return "8021q", "CONFIG_VLAN_8021Q"
	default:
		return kind, "CONFIG_" + strings.ToUpper(kind)
	}
}
