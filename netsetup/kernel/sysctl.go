//go:build linux

package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/policy/request"
)

// ifName is the word in a key that stands for the interface's name.
const ifName = "IFNAME"

// setSysctls writes all settings of a step in one visit, but for those that a message can set.
func (k *Kernel) setSysctls(s plan.SetSysctls) error {
	ns, err := k.namespace()
	if err != nil {
		return err
	}
	var files []request.Sysctl
	var settings []nl.NetlinkRequestData
	var words []string
	for _, v := range s.Values {
		if a, ok := inetSetting(v); ok {
			settings = append(settings, a)
			words = append(words, fmt.Sprintf("%s to %q", strings.ReplaceAll(v.Key, ifName, s.If), v.Value))
		} else {
			files = append(files, v)
		}
	}
	if len(settings) > 0 {
		err := k.setInet(ns, s.If, settings)
		if errors.Is(err, unix.ENODEV) {
			return nil // a link of another record, which ended meanwhile; without our own one the next step fails
		}
		if err != nil {
			return failed(err, "set %s", strings.Join(words, " and "))
		}
	}
	if len(files) == 0 {
		return nil
	}
	return ns.Do(func() error { return k.host.proc.write(s.If, files) })
}

// inetSetting is a setting of IPv4 as a message has it, false for one that has to be written to its file. A message takes
// a third of the time, and less among many containers, see [Host.OwnProc]; attachments have these as a rule.
func inetSetting(v request.Sysctl) (nl.NetlinkRequestData, bool) {
	const conf = "net.ipv4.conf." + ifName + "."
	var kind int
	switch strings.TrimPrefix(v.Key, conf) {
	case "rp_filter":
		kind = inetRPFilter
	case "arp_announce":
		kind = inetARPAnnounce
	case "arp_ignore":
		kind = inetARPIgnore
	case "arp_notify":
		kind = inetARPNotify
	default:
		return nil, false
	}
	// The kernel does not look at what a message says; a file refuses what is no number.
	n, err := strconv.Atoi(v.Value)
	if err != nil || n < 0 || n > 2 || v.Value != strconv.Itoa(n) {
		return nil, false
	}
	return number(kind, n), true
}

// setInet gives a link settings of IPv4.
func (k *Kernel) setInet(ns *Namespace, link string, settings []nl.NetlinkRequestData) error {
	p, err := k.port(ns, link)
	if err != nil {
		return err
	}
	return ns.conn.change(unix.RTM_SETLINK, 0, indexMessage(p.index), nest(unix.IFLA_AF_SPEC, nest(unix.AF_INET, nest(inetConf, settings...))))
}

// From linux/if_link.h and linux/ip.h.
const (
	inetConf        = 1  // IFLA_INET_CONF
	inetARPAnnounce = 18 // IPV4_DEVCONF_ARP_ANNOUNCE
	inetARPIgnore   = 19 // IPV4_DEVCONF_ARP_IGNORE
	inetARPNotify   = 22 // IPV4_DEVCONF_ARP_NOTIFY
)

// noIPv6 keeps a port from having an IPv6 address of its own, and from hearing routers.
func (h *Host) noIPv6(name string) error {
	return h.setIPv6(name, [2]string{"accept_ra", "0"}, [2]string{"disable_ipv6", "1"})
}

// setIPv6 gives a link of the host settings of IPv6, each a name and a value. A kernel without IPv6, or a link whose MTU is too
// small for it, needs none.
func (h *Host) setIPv6(name string, settings ...[2]string) error {
	var values []request.Sysctl
	for _, s := range settings {
		values = append(values, request.Sysctl{Key: "net.ipv6.conf." + ifName + "." + s[0], Value: s[1]})
	}
	err := h.do(func() error { return h.proc.write(name, values) })
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// write writes settings of the calling thread's namespace.
func (p *proc) write(link string, values []request.Sysctl) error {
	dirs := folders{proc: p}
	defer dirs.close()
	for _, v := range values {
		if err := dirs.write(v.Key, link, v.Value); err != nil {
			return err
		}
	}
	return nil
}

// folders are the open folders below /proc/sys. Each is looked up once only, for which see [Host.OwnProc].
type folders struct {
	proc  *proc
	paths []string
	fds   []int
}

func (f *folders) open(dir string) (int, error) {
	for i, p := range f.paths {
		if p == dir {
			return f.fds[i], nil
		}
	}
	fd, err := f.proc.open(dir)
	if err != nil {
		return -1, err
	}
	f.paths, f.fds = append(f.paths, dir), append(f.fds, fd)
	return fd, nil
}

func (f *folders) close() {
	for _, fd := range f.fds {
		unix.Close(fd) //nolint:errcheck // nothing was written to a folder
	}
}

func (f *folders) write(key, link, value string) error {
	fail := func(cause, hint string, err error) error {
		return &Error{
			Op: fmt.Sprintf("set %s to %q", strings.ReplaceAll(key, ifName, link), value), Cause: cause, Err: err, hint: hint,
		}
	}
	file, err := sysctlPath(key, link)
	if err != nil {
		return fail("", "", err)
	}
	dir, name := path.Split(file)
	fd, err := f.open(path.Clean(dir))
	if err == nil {
		// Settings are never created: without O_CREAT a missing one is ENOENT, which names the cause.
		fd, err = openAt(fd, name, unix.O_WRONLY)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fail("the kernel has no such setting", "see which there are below "+path.Clean(dir), fs.ErrNotExist)
	case err != nil:
		return fail("", "", err)
	}
	_, err = unix.Write(fd, []byte(value))
	if err = errors.Join(err, unix.Close(fd)); err != nil {
		return fail("the kernel refuses this value", "", err)
	}
	return nil
}

// sysctlPath is the file of a key. The dots of a key part its components; an interface's name may have dots of its own
// and takes the place of IFNAME afterwards.
func sysctlPath(key, link string) (string, error) {
	parts := strings.Split(key, ".")
	for i, p := range parts {
		if p == ifName {
			p = link
		}
		if p == "" || p == "." || p == ".." || strings.ContainsRune(p, '/') {
			return "", fmt.Errorf("%q is no part of a setting's name", p)
		}
		parts[i] = p
	}
	if len(parts) < 2 || parts[0] != "net" {
		return "", errors.New("only settings below net belong to a network namespace")
	}
	return "/proc/sys/" + strings.Join(parts, "/"), nil
}
