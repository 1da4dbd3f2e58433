package policy

import "slices"

// defaults are the modes where the rule names none: the usual one of each driver.
func (s *SpellOut) defaults() {
	if len(s.Modes) > 0 {
		return
	}
	s.Modes = []string{ModeBridge.String()}
	if slices.Contains(s.Drivers, IPVLAN.String()) {
		s.Modes = append(s.Modes, ModeL2.String())
	}
}

// spellOutSchema is the table spell-out of a rule.
func spellOutSchema() []field[SpellOut] {
	return []field[SpellOut]{
		{
			name: "drivers", typ: "list of strings", required: true, doc: "the drivers that may be used",
			set: func(d *decoder, s *SpellOut, v value) {
				for _, one := range v.filled(d, "list at least one driver") {
					var driver Driver
					if word(d, one, driverNames(), laterDrivers(), &driver); driver == HostDevice {
						d.fail(one.at, "make it a network", "%s: a device of the host cannot be spelled out", one.name)
					} else if driver != 0 {
						s.Drivers = append(s.Drivers, driver.String())
					}
				}
			},
		},
		{
			name: "parents", typ: "list of globs", required: true,
			doc: "the host's links that may be used: parents, and bridges. A glob is for links alone, not for their VLANs",
			set: func(d *decoder, s *SpellOut, v value) { s.Parents = texts(v.filled(d, "list at least one link")) },
		},
		{
			name: "vlans", typ: "list of integers and strings", def: "none",
			doc: "the VLANs that may be used, on parents and on the ports of bridges: ids, and ranges such as `\"100-199\"`. Of two " +
				"tags both must be among them",
			set: func(d *decoder, s *SpellOut, v value) { s.VLANs = d.vlanRanges(v) },
		},
		{
			name: "modes", typ: "list of strings", def: "`[\"bridge\"]`, with ipvlan `[\"bridge\", \"l2\"]`",
			doc: "the modes of macvlan and ipvlan that may be used; `private` and `vepa` are the flags of ipvlan, too, and its flag " +
				"`bridge` needs no word. `source` cannot be spelled out",
			set: func(d *decoder, s *SpellOut, v value) {
				for _, one := range v.filled(d, "list at least one mode") {
					var mode Mode
					if word(d, one, modeNames(), nil, &mode); mode == ModeSource {
						d.fail(one.at, "make it a network",
							"%s: mode source needs a list of MAC addresses, which cannot be spelled out", one.name)
					} else if mode != 0 {
						s.Modes = append(s.Modes, mode.String())
					}
				}
			},
		},
	}
}
