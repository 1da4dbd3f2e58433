// Package guest makes the files by which a container knows names: hostname, hosts and resolv.conf come out, as text and
// as a folder below the state directory from which they are mounted into the container. What the policy allows, what the
// container's config.json says and what the host's own files say come in.
package guest

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/lanhook/lanhook/netsetup/ipam"
	"github.com/lanhook/lanhook/policy"
)

// The files, where a container looks for them.
const (
	ResolvPath   = "/etc/resolv.conf"
	HostsPath    = "/etc/hosts"
	HostnamePath = "/etc/hostname"
)

// keyLen is the length of a key: 64 bits, which no two of a machine's containers share by chance.
const keyLen = 16

// Key names the folder of a container: the hash of [ipam.Place] over the path of its bundle and its id, in hexadecimal
// digits. Two containers may be made from one bundle, each with an id of its own.
func Key(bundle, id string) string { return fmt.Sprintf("%016x", ipam.Place("guest", bundle, id)) }

// CheckKey refuses what [Key] does not make: it becomes part of a path.
func CheckKey(key string) error {
	if len(key) != keyLen || strings.Trim(key, "0123456789abcdef") != "" {
		return fmt.Errorf("%.40q is no key of guest files, which has %d hexadecimal digits", key, keyLen)
	}
	return nil
}

// Spec is what a container's config.json says about the files and names.
type Spec struct {
	// Hostname is "" for none.
	Hostname string
	// Mounts are the destinations of its mounts.
	Mounts []string
	// NoPlace are files that cannot be mounted, since they are not in the root file system and cannot be made in it.
	// Who does not ask for one starts without it.
	NoPlace []string
}

// mounted says whether the engine has a mount of its own in the place of a file. One on /etc as a whole counts for what
// nobody asked for: a file would have to be made in it, and the folder may be anybody's.
func (s Spec) mounted(file string, asked bool) bool {
	if !asked && slices.Contains(s.NoPlace, file) {
		return true
	}
	return slices.ContainsFunc(s.Mounts, func(m string) bool {
		m = path.Clean("/" + m)
		return m == file || !asked && m == path.Dir(file)
	})
}

// Files are what a container gets: nil, or "" for the host name, is no file.
type Files struct {
	// Hostname is the name alone; its file has a newline behind it.
	Hostname string
	// Hosts is what stands in the hosts file whatever the container's own names and addresses are, see [Hosts].
	Hosts  []byte
	Resolv []byte
	// Names are the container's own, for the hosts file.
	Names []string
	// Kept are files that the container asked for and the engine mounts itself: the engine's stay.
	Kept []string
}

// Empty says whether there is no file at all.
func (f Files) Empty() bool { return f.Hostname == "" && f.Hosts == nil && f.Resolv == nil }

// Mount is one file and where the container sees it.
type Mount struct{ Source, Destination string }

// mounts are the files of a folder.
func (f Files) mounts(dir string) []Mount {
	var out []Mount
	for _, m := range []struct {
		there             bool
		file, destination string
	}{
		{f.Hostname != "", hostnameFile, HostnamePath},
		{f.Hosts != nil, hostsFile, HostsPath},
		{f.Resolv != nil, resolvFile, ResolvPath},
	} {
		if m.there {
			out = append(out, Mount{path.Join(dir, m.file), m.destination})
		}
	}
	return out
}

// Decide says which files a container gets, and what is in them. It asks for a file with its annotations, or by having
// an interface of lanhook's: that one gets hosts and resolv.conf, as users of Docker expect.
func Decide(g policy.Guest, spec Spec, host Host) Files {
	var f Files
	f.Names = ownNames(g.Hostname, spec.Hostname)
	wants := func(file string, asked, given bool) bool {
		there := spec.mounted(file, asked)
		if there && asked {
			f.Kept = append(f.Kept, file)
		}
		return !there && (asked || given)
	}
	if wants(HostnamePath, g.Hostname != "", false) {
		f.Hostname = g.Hostname
	}
	if wants(HostsPath, g.Hostname != "" || len(g.Hosts) > 0, g.Attached) {
		f.Hosts = base(g, host)
	}
	if wants(ResolvPath, len(g.DNS)+len(g.DNSSearch)+len(g.DNSOption) > 0, g.Attached) {
		f.Resolv = resolver(g, host)
	}
	return f
}
