//go:build linux

package firewall

import (
	"github.com/lanhook/lanhook/netsetup/plan"
)

// Renew makes the tables anew from all records, in one transaction: packets see either what was there or what is to be.
// Where records differ on what they say of a bridge the later ones win.
func (c *Conn) Renew(all []plan.AddRules) error {
	m, err := compile(all)
	if err != nil {
		return err
	}
	var failure error
	err = c.commit("renew the firewall's tables", func(b *batch) {
		for _, t := range tables() {
			b.table(t)
			for _, s := range t.sets {
				if err := b.set(t, s); err != nil {
					failure = err
				}
			}
			for _, ch := range t.chains {
				if ch.name != chainAdmin {
					b.chain(t, ch)
				} else {
					b.nft.AddChain(t.chainRef(ch))
				}
			}
			for _, ch := range t.chains {
				b.rules(t, ch)
			}
		}
		b.own(m)
		b.add(m.elements)
	})
	if failure != nil {
		return failure
	}
	return err
}
