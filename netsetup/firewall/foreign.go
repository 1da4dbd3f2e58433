//go:build linux

package firewall

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unsafe"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// ForwardDrop lists chains of others that drop what is forwarded unless a rule of theirs lets it pass, by their policy or
// their last rule, as nft(8) names them: what lanhook accepts they may drop. Those of iptables-nft are among them.
func (c *Conn) ForwardDrop() ([]string, error) {
	var list []string
	err := c.read(func() error {
		list = nil
		all, err := c.nft.ListChains()
		if err != nil {
			return fmt.Errorf("list chains: %w", first(err))
		}
		for _, chain := range all {
			family, forwards := forwardingFamily(chain.Table.Family)
			f := chainFound(chain)
			if !forwards || f.hook == nil || f.hook.at != *nftables.ChainHookForward || chain.Table.Name == tableName {
				continue
			}
			drops, err := c.endsInDrop(chain)
			if err != nil {
				return fmt.Errorf("look at chain %s of table %s %s: %w", chain.Name, family, chain.Table.Name, err)
			}
			if !drops {
				continue
			}
			list = append(list, fmt.Sprintf("chain %s %s %s", family, chain.Table.Name, chain.Name))
		}
		return nil
	})
	slices.Sort(list)
	return list, err
}

// forwardingFamily is the name of a family whose chains see what goes between a bridge and other links, or between two
// ports of a bridge; false for the others.
func forwardingFamily(f nftables.TableFamily) (string, bool) {
	switch f { //nolint:exhaustive // the others forward nothing of containers
	case nftables.TableFamilyIPv4:
		return "ip", true
	case nftables.TableFamilyIPv6:
		return "ip6", true
	case nftables.TableFamilyINet:
		return "inet", true
	case nftables.TableFamilyBridge:
		return "bridge", true
	}
	return "", false
}

// LegacyForwardDrop is [Conn.ForwardDrop] for the older tables of iptables-legacy, which nftables does not list: those of
// the calling thread's network namespace. It looks only where a table is in use, since to ask would make it so.
func LegacyForwardDrop() ([]string, error) {
	var list []string
	for _, l := range []legacy{
		{name: "iptables-legacy", names: "ip_tables_names", family: unix.AF_INET, level: unix.SOL_IP, offset: 88},
		{name: "ip6tables-legacy", names: "ip6_tables_names", family: unix.AF_INET6, level: unix.SOL_IPV6, offset: 140},
	} {
		drops, err := l.drops()
		if err != nil {
			return nil, fmt.Errorf("read the policy of %s: %w", l.name, err)
		}
		if drops {
			list = append(list, l.name+" chain filter FORWARD")
		}
	}
	return list, nil
}

// legacy is one of the older packet filters; see linux/netfilter_ipv4/ip_tables.h and its sister of IPv6.
type legacy struct {
	name string
	// names is the file of the tables in use, below /proc/net.
	names         string
	family, level int
	// offset is where an entry has the offset of its target: behind what it matches and a word.
	offset int
}

const (
	legacyInfo    = 64 // IPT_SO_GET_INFO
	legacyEntries = 65 // IPT_SO_GET_ENTRIES

	// Of struct ipt_getinfo: 32 bytes of name, valid hooks, five entries and five ends of hooks, number and size of entries.
	legacyInfoSize = 84
	legacyForward  = 56 + 4*2
	legacySizeAt   = 80

	// A target has a head of 32 bytes, and the verdict of the simplest kind behind it: -1 is drop.
	legacyTargetHead = 32
	legacyDrop       = -1

	// mostLegacy bounds the size of a table that is read.
	mostLegacy = 64 << 20
)

// legacyHead is the size of struct ipt_get_entries: a name, a size, and room up to the entries, which hold 64 bits and are
// aligned as the machine does it.
const (
	legacyAlign = int(unsafe.Alignof(struct{ counter uint64 }{}))
	legacyHead  = (32 + 4 + legacyAlign - 1) &^ (legacyAlign - 1)
)

// drops reads the policy of FORWARD, which is the last entry of the hook.
func (l legacy) drops() (bool, error) {
	used, err := l.used()
	if err != nil || !used {
		return false, err
	}
	fd, err := unix.Socket(l.family, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return false, err
	}
	defer unix.Close(fd) //nolint:errcheck // nothing was written
	info := make([]byte, legacyInfoSize)
	copy(info, "filter")
	if err := getsockopt(fd, l.level, legacyInfo, info); err != nil {
		return false, err
	}
	size := int(binary.NativeEndian.Uint32(info[legacySizeAt:]))
	if size > mostLegacy {
		return false, fmt.Errorf("the table has %d bytes", size)
	}
	entries := make([]byte, legacyHead+size)
	copy(entries, "filter")
	binary.NativeEndian.PutUint32(entries[32:], uint32(size))
	if err := getsockopt(fd, l.level, legacyEntries, entries); err != nil {
		return false, err
	}
	return l.verdict(entries[legacyHead:], int(binary.NativeEndian.Uint32(info[legacyForward:])))
}

func (l legacy) verdict(entries []byte, at int) (bool, error) {
	if at+l.offset+2 <= len(entries) {
		at += int(binary.NativeEndian.Uint16(entries[at+l.offset:])) + legacyTargetHead
		if at+4 <= len(entries) {
			return int32(binary.NativeEndian.Uint32(entries[at:])) == legacyDrop, nil //nolint:gosec // G115: signed in the kernel
		}
	}
	return false, errors.New("the chain's end is outside of the table")
}

func (l legacy) used() (bool, error) {
	fd, err := unix.Open("/proc/thread-self/net/"+l.names, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return false, nil // The kernel has no such tables, or no module of them is loaded.
	}
	if err != nil {
		return false, err
	}
	defer unix.Close(fd) //nolint:errcheck // a file that was only read
	var names [256]byte
	n, err := unix.Read(fd, names[:])
	if err != nil {
		return false, err
	}
	return slices.Contains(strings.Fields(string(names[:n])), "filter"), nil
}

// getsockopt fills b, of which it reads the name of the table first.
func getsockopt(fd, level, option int, b []byte) error {
	size := uint32(len(b)) //nolint:gosec // G115: bounded by mostLegacy
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), uintptr(option),
		uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(unsafe.Pointer(&size)), 0) //nolint:gosec // G103: no other call takes a name
	if errno != 0 {
		return errno
	}
	return nil
}
