//go:build linux

package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/lanhook/lanhook/netsetup/plan"
)

// Rule is a routing rule that leads from an address to a table.
type Rule struct {
	From     netip.Addr
	Table    int
	Priority int
}

// addRouteRule adds a rule, as ip-rule(8) does.
func (k *Kernel) addRouteRule(s plan.AddRouteRule) error {
	ns, err := k.namespace()
	if err != nil {
		return err
	}
	err = ns.conn.change(unix.RTM_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_EXCL, ruleParts(Rule(s))...)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EAFNOSUPPORT) {
		return &Error{
			Op: "add " + ruleText(Rule(s)), Cause: "the kernel has no routing by source address", Err: err,
			hint: "it needs CONFIG_IP_MULTIPLE_TABLES and CONFIG_IPV6_MULTIPLE_TABLES; or set source-routing = false in the policy",
		}
	}
	return failed(err, "add %s", ruleText(Rule(s)))
}

// delRouteRule removes exactly this rule: its table is one that only lanhook has, so it is no other's.
func (k *Kernel) delRouteRule(s plan.DelRouteRule) error {
	return k.insideUsed("remove "+ruleText(Rule(s)), func(ns *Namespace) error {
		err := ns.conn.change(unix.RTM_DELRULE, 0, ruleParts(Rule(s))...)
		// The kernel says ENOENT where there is no such rule, EAFNOSUPPORT or EOPNOTSUPP where there are none at all.
		for _, gone := range []unix.Errno{unix.ENOENT, unix.EAFNOSUPPORT, unix.EOPNOTSUPP} {
			if errors.Is(err, gone) {
				return nil
			}
		}
		return err
	})
}

// insideUsed is inside for what is of no use to a namespace that no process is in and no mount holds: a rule from an address
// that goes with its link, and a route to which no rule leads. Such a namespace is about to end, and is held until then by what
// the kernel has not closed yet, see [linger].
func (k *Kernel) insideUsed(what string, undo func(*Namespace) error) error {
	if err := k.inside(what, undo); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Rules lists the rules of a namespace that lead from a single address to a table.
func (n *Namespace) Rules() ([]Rule, error) {
	var list []Rule
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		msgs, err := n.conn.dump(unix.RTM_GETRULE, &nl.RtMsg{RtMsg: unix.RtMsg{Family: family}})
		if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EAFNOSUPPORT) {
			continue // a kernel without rules, or without this family
		}
		if err != nil {
			return nil, failed(err, "list routing rules")
		}
		for _, msg := range msgs {
			r, ok, err := parseRule(msg)
			if err != nil {
				return nil, failed(err, "list routing rules")
			}
			if ok {
				list = append(list, r)
			}
		}
	}
	return list, nil
}

// parseRule reads a rule; false for one that is not from a single address to a table.
func parseRule(msg []byte) (Rule, bool, error) {
	attrs, err := attributes(msg, unix.SizeofRtMsg)
	if err != nil {
		return Rule{}, false, err
	}
	// struct fib_rule_hdr has the form of struct rtmsg: its action stands where that has its type.
	header := nl.DeserializeRtMsg(msg)
	r := Rule{Table: int(header.Table)}
	for _, a := range attrs {
		switch a.kind {
		case unix.FRA_SRC:
			r.From, _ = netip.AddrFromSlice(a.value)
		case unix.FRA_TABLE:
			r.Table = int(a.number())
		case unix.FRA_PRIORITY:
			r.Priority = int(a.number())
		}
	}
	single := r.From.IsValid() && int(header.Src_len) == r.From.BitLen() && header.Dst_len == 0
	return r, single && header.Type == unix.FR_ACT_TO_TBL && header.Flags&unix.FIB_RULE_INVERT == 0, nil
}

// ruleParts is a rule as rtnetlink has it (linux/fib_rules.h). Its header has the form of a route's.
func ruleParts(r Rule) []nl.NetlinkRequestData {
	header := &nl.RtMsg{RtMsg: unix.RtMsg{
		Family:  family(r.From),
		Src_len: uint8(r.From.BitLen()), //nolint:gosec // G115: 32 or 128
		Table:   unix.RT_TABLE_UNSPEC,   // FRA_TABLE has it, with all 32 bits.
		Type:    unix.FR_ACT_TO_TBL,
	}}
	return []nl.NetlinkRequestData{
		header,
		nl.NewRtAttr(unix.FRA_SRC, r.From.AsSlice()),
		number(unix.FRA_PRIORITY, r.Priority),
		number(unix.FRA_TABLE, r.Table),
		nl.NewRtAttr(unix.FRA_PROTOCOL, []byte{protocol}),
	}
}

func ruleText(r Rule) string { return fmt.Sprintf("routing rule from %s to table %d", r.From, r.Table) }
