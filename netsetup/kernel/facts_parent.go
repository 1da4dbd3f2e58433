//go:build linux

package kernel

import (
	"fmt"

	"github.com/lanhook/lanhook/netsetup/plan"
)

// siblings looks for ipvlan children of a parent on the host itself that are in another mode than one which is to come: the
// kernel would change them without a word. Those in containers only the records tell of.
func (h *Host) siblings(facts *plan.Facts, q Query, parent plan.Link) error {
	if q.Flag == 0 || parent.Index == 0 {
		return nil
	}
	all, err := h.conn.linksOfKind(kindIPVLAN)
	if err != nil {
		return failed(err, "list ipvlan children of %s", parent.Name)
	}
	for _, s := range all {
		if !s.isOn(parent.Index) || s.Mode == q.Mode && s.Flag == q.Flag {
			continue
		}
		if facts.Users == nil {
			facts.Users = map[string]string{}
		}
		facts.Users[q.IfName] = fmt.Sprintf("the host has the ipvlan child %s on it, in mode %s %s", s.Name, s.Mode, s.Flag)
		return nil
	}
	return nil
}
