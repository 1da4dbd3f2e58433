package policy

import "slices"

// networkSchema is the table [network.NAME].
func networkSchema() []field[networkDraft] {
	return slices.Concat(linkSchema(), bridgeSchema(), interfaceSchema(), addressSchema(), ipv6Schema(), hostAccessSchema(), firewallSchema(), nameSchema(),
		limitSchema(), tuningSchema())
}

// addressSchema are the keys about addresses and routes.
func addressSchema() []field[networkDraft] {
	return []field[networkDraft]{
		{
			name: "ipam", typ: "string", def: "`local` with subnets, `none` without",
			doc: "`local` picks free addresses, `static` gives only those that are asked for, `none` gives none",
			set: func(d *decoder, n *networkDraft, v value) { word(d, v, ipamNames(), laterIPAM(), &n.IPAM) },
		},
		{
			name: "subnet", typ: "list of tables", doc: "the subnets, one `[[network.NAME.subnet]]` each",
			set: func(d *decoder, n *networkDraft, v value) { n.subnets = d.subnets(n, v) },
		},
		{
			name: "reserve", typ: "table",
			doc: "addresses kept for workloads by their names, one or a list of them with one of each subnet: " +
				"`printer = \"192.168.1.9\"`. Nobody else gets them, see [below](#reserved-addresses)",
			set: func(d *decoder, n *networkDraft, v value) { d.reserve(n, v) },
		},
		{
			name: "conflict", typ: "string", def: "`next` on a LAN; on a bridge without an uplink, and for ipvlan in l3 and l3s, `off`",
			doc: "what becomes of an address that somebody else on the LAN has, which is asked for by ARP and neighbour discovery: " +
				"`next` takes another, `fail` refuses the container, `warn` uses it all the same, `off` does not ask. `rfc` is `next` " +
				"with the full time of RFC 5227, four to seven seconds",
			set: func(d *decoder, n *networkDraft, v value) { word(d, v, conflictNames(), nil, &n.Conflict) },
		},
		{
			name: "announce", typ: "boolean", def: "`true`; for ipvlan in l3 and l3s `false`",
			doc: "whether neighbours are told of the container's addresses, so that none keeps an old MAC address for them",
			set: func(d *decoder, n *networkDraft, v value) { v.into(d, &n.Announce) },
		},
		{
			name: "internal", typ: "boolean", def: "`false`", doc: "no default route is ever given; on a bridge, containers reach each other and the host, and nothing else",
			set: func(d *decoder, n *networkDraft, v value) { n.Internal, _ = v.boolean(d) },
		},
		{
			name: "default-route", typ: "boolean", def: "`true`, `false` when internal",
			doc: "whether a container may get its default route here",
			set: func(d *decoder, n *networkDraft, v value) { n.DefaultRoute, _ = v.boolean(d) },
		},
		{
			name: "metric", typ: "integer", def: "the kernel's", doc: "the metric of the default routes, 0 to 2147483647; of several networks the one with the lowest comes first",
			set: func(d *decoder, n *networkDraft, v value) { n.Metric = v.integer(d, 0, maxMetric) },
		},
		{
			name: "route", typ: "list of strings",
			doc: "static routes, each `[blackhole|unreachable|prohibit] CIDR [via GATEWAY] [metric N] [table N] [scope N] " +
				"[src IP] [onlink]`",
			set: func(d *decoder, n *networkDraft, v value) { d.routes(n, v) },
		},
	}
}

// nameSchema are the keys about names. What they give is in files that a shim mounts into the container.
func nameSchema() []field[networkDraft] {
	return []field[networkDraft]{
		{
			name: "names", typ: "boolean", def: "`false`",
			doc: "containers of this network find each other by name, through their hosts files",
			set: func(d *decoder, n *networkDraft, v value) { n.Names, _ = v.boolean(d) },
		},
		{
			name: "dns", typ: "list of addresses", def: "the host's",
			doc: "the name servers in the resolv.conf of a container that asks for none, at most 3",
			set: func(d *decoder, n *networkDraft, v value) { n.DNS = d.nameServers(v) },
		},
		{
			name: "dns-search", typ: "list of strings", def: "the host's",
			doc: "the search list in the resolv.conf of a container that asks for none, at most 6 domains; `\".\"` for none",
			set: func(d *decoder, n *networkDraft, v value) { n.DNSSearch = d.searchList(v) },
		},
	}
}

// tuningSchema are the keys that few need.
func tuningSchema() []field[networkDraft] {
	return []field[networkDraft]{
		{
			name: "sysctl", typ: "list of strings",
			doc: "settings of the container's interface, each `KEY=VALUE` with the word IFNAME for the interface's name, such " +
				"as `net.ipv4.conf.IFNAME.rp_filter=2`",
			set: func(d *decoder, n *networkDraft, v value) { d.sysctls(n, v) },
		},
		{
			name: "bcqueuelen", typ: "integer", def: "the kernel's", drivers: []Driver{Macvlan},
			doc: "how many broadcast frames the parent keeps for its children",
			set: func(d *decoder, n *networkDraft, v value) { n.BroadcastQueue = v.integer(d, 1, maxQueue) },
		},
		{
			name: "txqueuelen", typ: "integer", def: "the kernel's", doc: "the interface's transmit queue, in packets",
			set: func(d *decoder, n *networkDraft, v value) { n.TxQueueLen = v.integer(d, 1, maxQueue) },
		},
		{
			name: "promiscuous", typ: "boolean", def: "`false`", doc: "the interface takes every frame",
			set: func(d *decoder, n *networkDraft, v value) { n.Promiscuous, _ = v.boolean(d) },
		},
		{
			name: "allmulti", typ: "boolean", def: "`false`", doc: "the interface takes every multicast frame",
			set: func(d *decoder, n *networkDraft, v value) { n.AllMulti, _ = v.boolean(d) },
		},
		{
			name: "hairpin", typ: "boolean", def: "`false`", drivers: []Driver{Bridge},
			doc: "the bridge port sends frames back where they came from",
			set: func(d *decoder, n *networkDraft, v value) { n.Hairpin, _ = v.boolean(d) },
		},
	}
}
