package policy

import (
	"net/netip"
	"slices"

	"github.com/lanhook/lanhook/policy/request"
)

// firewallSchema are the keys about what may pass between a bridge network and everything else.
func firewallSchema() []field[networkDraft] {
	return slices.Concat(gateSchema(), []field[networkDraft]{
		{
			name: "masquerade", typ: "boolean", def: "`true` with `gateway-mode = \"nat\"`, else `false`", drivers: []Driver{Bridge},
			doc: "what leaves the network is hidden behind the address of the host's link by which it leaves; a subnet may " +
				"say otherwise",
			set: func(d *decoder, n *networkDraft, v value) { n.masquerade = v.choice(d) },
		},
		{
			name: "snat", typ: "address or list of addresses", drivers: []Driver{Bridge},
			doc: "what leaves the network is hidden behind this address of the host instead, at most one a family",
			set: func(d *decoder, n *networkDraft, v value) { n.snat = d.hostAddresses(v, snatAddress) },
		},
		{
			name: "bind", typ: "address or list of addresses", def: "all of the host's", drivers: []Driver{Bridge},
			doc: "the host's address for published ports that name none, at most one a family. With an address of one family " +
				"only, nothing is published on the other",
			set: func(d *decoder, n *networkDraft, v value) { n.Bind = d.hostAddresses(v, bindAddress) },
		},
		{
			name: "dnat", typ: "address or list of addresses", drivers: []Driver{Bridge},
			doc: "host addresses of which everything that no other published port takes goes to the network's container, at most " +
				"one a family. One container has them at a time",
			set: func(d *decoder, n *networkDraft, v value) { n.DNAT = d.hostAddresses(v, dnatAddress) },
		},
	})
}

// gateSchema are the keys that hold for a bridge as a whole.
func gateSchema() []field[networkDraft] {
	return []field[networkDraft]{
		{
			name: "firewall", typ: "boolean", def: "`true`", drivers: []Driver{Bridge},
			doc: "`false` makes no rules at all: nothing is published, masqueraded or kept apart, for hosts whose own rules do " +
				"that. `spoof-check` and `rate` hold all the same",
			set: func(d *decoder, n *networkDraft, v value) { v.into(d, &n.Firewall) },
		},
		{
			name: "gateway-mode", typ: "string", def: "`nat`", drivers: []Driver{Bridge},
			doc: "`nat` lets containers out and in what is published; `routed` lets in what is published and ping at the " +
				"containers' own addresses, too; `isolated` lets nothing pass and gives the host no address on the bridge",
			set: func(d *decoder, n *networkDraft, v value) { word(d, v, gatewayModeNames(), nil, &n.GatewayMode) },
		},
		{
			name: "icc", typ: "boolean", def: "`true`", drivers: []Driver{Bridge},
			doc: "containers of the network reach each other",
			set: func(d *decoder, n *networkDraft, v value) { v.into(d, &n.ICC) },
		},
		{
			name: "isolate", typ: "boolean", def: "`true`", drivers: []Driver{Bridge},
			doc: "other bridge networks are kept out, but for what is published. Two networks reach each other where both have " +
				"`false`",
			set: func(d *decoder, n *networkDraft, v value) { v.into(d, &n.Isolate) },
		},
	}
}

// limitSchema are the keys that bound what a container sends and receives, whatever the driver.
func limitSchema() []field[networkDraft] {
	return []field[networkDraft]{
		{
			name: "spoof-check", typ: "boolean", def: "`false`",
			doc: "what a container sends from other addresses than its own is dropped, and so are its router advertisements",
			set: func(d *decoder, n *networkDraft, v value) { v.into(d, &n.SpoofCheck) },
		},
		{
			name: "rate", typ: "string or table", def: "none",
			doc: "what each container may receive and send, in bits a second: `\"100mbit\"`, or " +
				"`{ in = \"1gbit\", out = \"50mbit\" }` with `in` for what it receives",
			set: func(d *decoder, n *networkDraft, v value) { n.rate = d.eachWay(v, rateOf) },
		},
		{
			name: "burst", typ: "string or table", def: "10 ms of the rate, `\"72kb\"` at least",
			doc: "how much may come at once above `rate`: `\"64kb\"` of 1024 bytes each, or a table as with `rate`",
			set: func(d *decoder, n *networkDraft, v value) { n.burst = d.eachWay(v, burstOf) },
		},
	}
}

// choice is a boolean that may not have been written, or not as one.
type choice uint8

const (
	unsaid choice = iota
	yes
	no
)

func (v value) choice(d *decoder) choice {
	on, ok := v.boolean(d)
	switch {
	case !ok:
		return unsaid
	case on:
		return yes
	}
	return no
}

// into takes a boolean over, and leaves what is there when the value is none.
func (v value) into(d *decoder, out *bool) {
	if on, ok := v.boolean(d); ok {
		*out = on
	}
}

// use is what an address of the host is for.
type use uint8

const (
	bindAddress use = iota
	snatAddress
	dnatAddress
)

// hostAddresses reads addresses of the host, at most one a family.
func (d *decoder) hostAddresses(v value, what use) []netip.Addr {
	var out []netip.Addr
	if v.kind != kindString && !v.is(d, kindArray, "write an address in quotes, or a list of one for each family") {
		return nil
	}
	for _, one := range v.filled(d, "leave the key out for none") {
		a, ok := d.hostAddress(one, what)
		if !ok {
			continue
		}
		if i := slices.IndexFunc(out, func(o netip.Addr) bool { return o.Is4() == a.Is4() }); i >= 0 {
			d.fail(one.at, "", "%s: there is an %s address already, %s", one.name, family(a), out[i])
			continue
		}
		out = append(out, a)
	}
	return out
}

func (d *decoder) hostAddress(v value, what use) (netip.Addr, bool) {
	text, ok := v.str(d)
	if !ok {
		return netip.Addr{}, false
	}
	var a netip.Addr
	var err error
	switch what {
	case bindAddress:
		a, err = request.ParseHostAddress(text)
	case snatAddress, dnatAddress:
		a, err = request.ParseTranslated(text)
	}
	switch {
	case err != nil:
		d.wrong(v, err)
		return a, false
	case what == bindAddress && a == netip.IPv6Loopback():
		// Every port that names no address would be refused: netsetup/plan says why.
		d.fail(v.at, "write 127.0.0.1, where the host's own programs find the ports as well",
			"%s: nothing can be published on ::1, since the kernel takes no answer to it", v.name)
		return a, false
	}
	return a, true
}

// family is the name of an address's family.
func family(a netip.Addr) string {
	if a.Is4() {
		return "IPv4"
	}
	return "IPv6"
}
