//go:build linux

package firewall

import (
	"encoding/binary"
	"fmt"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// endsInDrop says whether a chain drops or rejects what comes to its end, whatever it is: by policy, or by a last rule
// that looks at nothing, as the chain of firewalld does.
func (c *Conn) endsInDrop(chain *nftables.Chain) (bool, error) {
	if chain.Policy != nil && *chain.Policy == nftables.ChainPolicyDrop {
		return true, nil
	}
	rules, err := c.dump(unix.NFT_MSG_GETRULE, chain.Table.Family,
		attribute(unix.NFTA_RULE_TABLE, chain.Table.Name), attribute(unix.NFTA_RULE_CHAIN, chain.Name))
	if err != nil || len(rules) == 0 {
		return false, err
	}
	return dropsAll(rules[len(rules)-1])
}

// dropsAll says whether a rule drops or rejects whatever comes to it.
func dropsAll(rule netlink.Message) (bool, error) {
	if len(rule.Data) < headerSize {
		return false, fmt.Errorf("a rule of %d bytes is too short", len(rule.Data))
	}
	drops, blind := false, true
	attributes(rule.Data[headerSize:], func(list *netlink.AttributeDecoder) {
		if list.Type() != unix.NFTA_RULE_EXPRESSIONS {
			return
		}
		attributes(list.Bytes(), func(list *netlink.AttributeDecoder) {
			switch drop, beside := expression(list.Bytes()); {
			case drop:
				drops = true
			case !beside:
				blind = false
			}
		})
	})
	return drops && blind, nil
}

// expression reads one expression of a rule: whether it drops or rejects, or does something beside, without looking at
// the packet.
func expression(data []byte) (drop, beside bool) {
	name, about := "", []byte(nil)
	attributes(data, func(list *netlink.AttributeDecoder) {
		switch list.Type() {
		case unix.NFTA_EXPR_NAME:
			name = list.String()
		case unix.NFTA_EXPR_DATA:
			about = list.Bytes()
		}
	})
	switch name {
	case "reject":
		return true, false
	case "immediate":
		return verdictOf(about) == dropVerdict, false
	case "target": // of iptables
		target := targetOf(about)
		return target == "REJECT" || target == "DROP", false
	}
	return false, name == "counter" || name == "log"
}

// dropVerdict is NF_DROP, of the verdicts in linux/netfilter.h.
const dropVerdict = 0

// verdictOf is the code of the verdict in an immediate expression, -1 for none.
func verdictOf(data []byte) int32 {
	code := int32(-1)
	attributes(data, func(list *netlink.AttributeDecoder) {
		if list.Type() != unix.NFTA_IMMEDIATE_DATA {
			return
		}
		attributes(list.Bytes(), func(list *netlink.AttributeDecoder) {
			if list.Type() != unix.NFTA_DATA_VERDICT {
				return
			}
			attributes(list.Bytes(), func(list *netlink.AttributeDecoder) {
				if list.Type() == unix.NFTA_VERDICT_CODE {
					code = int32(list.Uint32()) //nolint:gosec // G115: signed in the kernel
				}
			})
		})
	})
	return code
}

// targetOf is the name of a target of iptables.
func targetOf(data []byte) (name string) {
	attributes(data, func(list *netlink.AttributeDecoder) {
		if list.Type() == unix.NFTA_TARGET_NAME {
			name = list.String()
		}
	})
	return name
}

// attributes calls see for each attribute of a list; one that is cut off ends it.
func attributes(data []byte, see func(*netlink.AttributeDecoder)) {
	list, err := netlink.NewAttributeDecoder(data)
	if err != nil {
		return
	}
	list.ByteOrder = binary.BigEndian
	for list.Next() {
		see(list)
	}
}
