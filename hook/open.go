package main

import (
	"os"
	"strconv"
	"strings"

	"github.com/lanhook/lanhook/netsetup"
	"github.com/lanhook/lanhook/netsetup/kernel"
	"github.com/lanhook/lanhook/netsetup/process"
	"github.com/lanhook/lanhook/netsetup/store"
	"github.com/lanhook/lanhook/policy"
)

// needs says what a command works with.
type needs uint8

const (
	withoutPolicy needs = iota
	withPolicy
)

// open makes lanhook ready to work on this host.
func (a *app) open(n needs) (*netsetup.Setup, error) {
	s := &netsetup.Setup{HostID: hostID()}
	var err error
	if n == withPolicy {
		if s.Policy, err = policy.Load(a.policy); err != nil {
			return nil, err
		}
	}
	if s.BootID, err = process.BootID(); err != nil {
		return nil, err
	}
	if s.Self, err = process.Find(os.Getpid()); err != nil {
		return nil, err
	}
	if s.Store, err = store.Open(a.stateDir); err != nil {
		return nil, err
	}
	if s.Host, err = kernel.Open(); err != nil {
		return nil, err
	}
	return s, nil
}

// hostID tells hosts of one LAN apart. It is the machine id (machine-id(5)), which stays the same for the life of an
// installation; what is derived from it is hashed, so that it is not given away. A host without one has its name.
func hostID() string {
	for _, path := range []string{"/etc/machine-id", "/var/lib/dbus/machine-id"} {
		if id, err := process.ReadFile(path); err == nil && len(strings.TrimSpace(string(id))) > 0 {
			return strings.TrimSpace(string(id))
		}
	}
	name, err := os.Hostname()
	if err != nil {
		return "localhost"
	}
	return name
}

// cgroupOf is the container's cgroup path, "" when it cannot be read: in the unified hierarchy, or in the systemd one
// where there is no unified one (cgroups(7)).
func cgroupOf(pid int) string {
	data, err := process.ReadFile("/proc/" + strconv.Itoa(pid) + "/cgroup")
	if err != nil {
		return ""
	}
	return cgroupIn(string(data))
}

// cgroupIn reads lines of the form HIERARCHY:CONTROLLERS:PATH. A path may have colons.
func cgroupIn(text string) string {
	path := ""
	for line := range strings.Lines(text) {
		fields := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(fields) != 3 {
			continue
		}
		if fields[0] == "0" && fields[2] != "/" || path == "" && fields[1] == "name=systemd" {
			path = fields[2]
		}
	}
	return path
}
