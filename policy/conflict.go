package policy

// Conflict is what becomes of an address that somebody else on the LAN has.
type Conflict uint8

// What may be done about it. ConflictNext is the default on a LAN.
const (
	// ConflictNext takes the next free address; one that was asked for is refused.
	ConflictNext Conflict = iota + 1
	// ConflictFail refuses the container.
	ConflictFail
	// ConflictWarn says so, and uses the address.
	ConflictWarn
	// ConflictOff asks nobody.
	ConflictOff
	// ConflictRFC is ConflictNext with the timing of RFC 5227: four to seven seconds.
	ConflictRFC
)

func conflictNames() []string { return []string{"", "next", "fail", "warn", "off", "rfc"} }

// String is the name in the policy.
func (c Conflict) String() string { return nameOf(conflictNames(), c) }

// MarshalText writes the name, "" for the zero value. The error is that there is no such word.
func (c Conflict) MarshalText() ([]byte, error) { return textOf("conflict", conflictNames(), c) }

// UnmarshalText reads what [Conflict.MarshalText] writes.
func (c *Conflict) UnmarshalText(text []byte) error {
	return fromText("conflict", conflictNames(), text, c)
}

// Resolves says whether neighbours find a container's addresses by ARP and neighbour discovery. An ipvlan that routes does
// neither (drivers/net/ipvlan, IFF_NOARP).
func (n *Network) Resolves() bool { return n.Driver != IPVLAN || n.Mode == ModeL2 }

// onSharedLAN says whether others than this host hand out addresses on the network's layer 2, as far as the policy tells: that is
// so on every LAN, and not on a bridge without an uplink.
func (n *Network) onSharedLAN() bool { return n.Resolves() && (n.Driver != Bridge || n.HasUplink()) }

// conflicts sets and checks what becomes of addresses that others have.
func (d *decoder) conflicts(n *networkDraft, name string) {
	n.settleConflicts(n.has("announce"))
	switch {
	case n.Resolves():
	case n.has("conflict") && n.Conflict != ConflictOff:
		d.fail(n.place("conflict"), "take the key out",
			"%s: conflict cannot be %q: an ipvlan in mode %s has neither ARP nor neighbour discovery", name, n.Conflict, n.Mode)
	case n.has("announce") && n.Announce:
		d.fail(n.place("announce"), "take the key out",
			"%s: an ipvlan in mode %s announces nothing: it has neither ARP nor neighbour discovery", name, n.Mode)
	}
}

// settleConflicts sets what was not said.
func (n *Network) settleConflicts(announceSaid bool) {
	if n.Conflict == 0 {
		n.Conflict = ConflictOff
		if n.onSharedLAN() {
			n.Conflict = ConflictNext
		}
	}
	if !announceSaid {
		n.Announce = n.Resolves()
	}
}
