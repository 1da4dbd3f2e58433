package main

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/lanhook/lanhook/hook/engine"
	"github.com/lanhook/lanhook/netsetup"
	"github.com/lanhook/lanhook/netsetup/kernel"
	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/policy"
)

// The names of the checks of the firewall.
const (
	checkFirewall   = "firewall"
	checkForward    = "forward"
	checkForwarding = "forwarding"
	checkConntrack  = "conntrack"
)

// rulesFindings say whether what bridge networks need of the firewall is there, and whether the host's own rules let it
// work. Without a policy nothing is known to be needed, so what is missing only warns.
func rulesFindings(ctx context.Context, files engine.Files, p *policy.Policy) []engine.Finding {
	found := []engine.Finding{firewallFinding(filtered(p), kernel.ProbeRules()), conntrackFinding(files)}
	host, err := kernel.Open()
	if err != nil {
		return append(found, engine.Finding{
			Check: checkForward, Level: engine.Warn, Means: "the host was not looked at: " + oneLine(err), Do: "run lanhook doctor as root",
		})
	}
	defer host.Close()
	chains, err := host.ForwardDrop()
	found = append(found, dropFindings(files, bridges(files, p), chains, err)...)
	out := outward(p)
	var facts plan.Facts
	err = nil
	if q := out.query(p); q.Forwards != (plan.Families{}) {
		facts, err = host.Facts(ctx, nil, []kernel.Query{q})
	}
	return append(found, forwardingFinding(out, facts, err))
}

// filtered are the policy's networks that have rules.
func filtered(p *policy.Policy) []string {
	return networks(p, func(n *policy.Network) bool { return n.Driver == policy.Bridge && n.Firewall })
}

// families are those in which a network leaves the host.
func (w wayOut) families() plan.Families { return plan.Families{V4: len(w.v4) > 0, V6: len(w.v6) > 0} }

// query asks for what an attach to these networks would turn on, as far as that is known without containers.
func (w wayOut) query(p *policy.Policy) kernel.Query {
	q := kernel.Query{Forwards: w.families()}
	for _, name := range w.v4 {
		n := p.Networks[name]
		q.Anywhere = q.Anywhere || netsetup.Anywhere(n) || len(n.Bind) == 0 || slices.Contains(n.Bind, netip.IPv4Unspecified())
		q.Local = slices.Concat(q.Local, n.Bind, n.DNAT)
	}
	q.Local = slices.DeleteFunc(q.Local, netip.Addr.IsUnspecified)
	return q
}

// wayOut are the networks of a policy that leave the host by its own links, of each family.
type wayOut struct{ v4, v6 []string }

func outward(p *policy.Policy) wayOut {
	of := func(is4 bool) []string {
		return networks(p, func(n *policy.Network) bool {
			return n.Driver == policy.Bridge && !n.OnLAN() && !n.Internal && n.GatewayMode != policy.GatewayIsolated &&
				slices.ContainsFunc(n.Subnets, func(s policy.Subnet) bool { return s.Prefix.Addr().Is4() == is4 })
		})
	}
	return wayOut{of(true), of(false)}
}

// bridges are the bridges of networks whose packets the host's own rules see: of those that it forwards for, and where the
// kernel shows what is bridged to the rules as well (br_netfilter), as Docker and Kubernetes have it, of those on a LAN too. On a
// bridge that filters VLANs everything has a tag, which is shown by a setting of its own only.
func bridges(files engine.Files, p *policy.Policy) []string {
	out := outward(p)
	all := slices.Concat(out.v4, out.v6)
	on := func(setting string) bool {
		text, err := files.Read("/proc/sys/net/bridge/bridge-nf-" + setting)
		return err == nil && strings.TrimSpace(string(text)) == "1"
	}
	if on("call-iptables") || on("call-ip6tables") {
		tagged := on("filter-vlan-tagged")
		all = append(all, networks(p, func(n *policy.Network) bool { return n.OnLAN() && (tagged || !n.FiltersVLANs()) })...)
	}
	var names []string
	for _, name := range all {
		names = append(names, p.Networks[name].Bridge)
	}
	return slices.Compact(slices.Sorted(slices.Values(names)))
}

// networks are the names of a policy's networks that are as is says, sorted; none without a policy.
func networks(p *policy.Policy, is func(*policy.Network) bool) []string {
	if p == nil {
		return nil
	}
	var names []string
	for _, name := range slices.Sorted(maps.Keys(p.Networks)) {
		if is(p.Networks[name]) {
			names = append(names, name)
		}
	}
	return names
}

// firewallFinding says whether the kernel can hold the rules of networks.
func firewallFinding(networks []string, err error) engine.Finding {
	f := engine.Finding{Check: checkFirewall, Level: engine.OK, Means: "nftables and connection tracking can do all that rules need"}
	if err == nil {
		return f
	}
	f.Means = "rules cannot be made: " + oneLine(err)
	f.Do = "modprobe nf_tables nf_conntrack nft_ct nft_nat nft_masq nft_fib_inet nft_limit nf_conntrack_netlink, or take a kernel that has them"
	if len(networks) == 0 {
		f.Level = engine.Warn
		return f
	}
	f.Level = engine.Fail
	f.Means += ": no container gets on " + plural(networks, "the bridge network")
	f.Do += ", or say firewall = false there"
	return f
}

// plural is "thing a", or "things a, b".
func plural(names []string, thing string) string {
	if len(names) > 1 {
		thing += "s"
	}
	return thing + " " + strings.Join(names, ", ")
}

// dropFindings say which chains of others drop forwarded packets. Whether rules in them let those of bridges pass cannot be
// known, so they only warn.
func dropFindings(files engine.Files, bridges, chains []string, err error) []engine.Finding {
	var found []engine.Finding
	add := func(level engine.Level, means, do string) {
		found = append(found, engine.Finding{Check: checkForward, Level: level, Means: means, Do: do})
	}
	all := strings.Join(bridges, ", ")
	switch {
	case err != nil:
		add(engine.Warn, "not all of the host's own rules were looked at: "+oneLine(err), "run lanhook doctor as root")
	case len(chains) == 0:
		add(engine.OK, "no chain of the host's own drops what is forwarded", "")
	case len(bridges) == 0:
		add(engine.OK, "no network of the policy is forwarded; "+strings.Join(chains, ", ")+" would drop what is", "")
		return found
	}
	for _, chain := range chains {
		add(engine.Warn, fmt.Sprintf("%s drops what none of its rules accepts (which these are is not looked at): unless one accepts "+
			"what %s forwards, containers there reach nothing beyond the host, and published ports do not answer", chain, all),
			forEach(letPass(files, chain), bridges))
	}
	return found
}

// forEach says of what is to be done to BRIDGE which ones that are: a single one is put into its place.
func forEach(do string, bridges []string) string {
	if len(bridges) == 1 {
		return strings.ReplaceAll(do, "BRIDGE", bridges[0])
	}
	return do + "; BRIDGE is each of " + strings.Join(bridges, ", ")
}

// letPass is what makes a chain let through what goes to and comes from a bridge, by whose chain it is: the table of
// firewalld bears its name; that of Docker and ufw is others' as well, so their files tell.
func letPass(files engine.Files, chain string) string {
	there := func(pattern string) bool {
		all, err := files.Glob(pattern)
		return err == nil && len(all) > 0
	}
	// What comes is «chain FAMILY TABLE CHAIN», or «iptables-legacy chain TABLE CHAIN».
	program, ofNFT := "iptables", strings.TrimPrefix(chain, "chain ")
	switch old, _, legacy := strings.Cut(chain, " chain "); {
	case legacy:
		program = old
	case ofNFT == "ip6 filter FORWARD":
		program = "ip6tables"
	case strings.Contains(chain, " firewalld "):
		return "firewall-cmd --permanent --zone=trusted --add-interface=BRIDGE, then firewall-cmd --reload"
	case ofNFT != "ip filter FORWARD":
		return fmt.Sprintf("nft insert rule %s iifname BRIDGE accept, the same with oifname, and where these rules are kept", ofNFT)
	}
	switch {
	case there("/run/docker.pid"):
		// Without the link out, the accept would open Docker's own networks to the bridge: this chain is asked first.
		return program + " -I DOCKER-USER -o BRIDGE -j ACCEPT, and -i BRIDGE -o LINK for each LINK by which the host reaches others " +
			"(not one of Docker's), after each start of Docker"
	case ufwEnabled(files):
		return "ufw route allow in on BRIDGE, and ufw route allow out on BRIDGE"
	}
	return program + " -I FORWARD -i BRIDGE -j ACCEPT, the same with -o, and where these rules are kept"
}

// ufwEnabled says whether ufw loads its rules.
func ufwEnabled(files engine.Files) bool {
	text, err := files.Read("/etc/ufw/ufw.conf")
	return err == nil && slices.ContainsFunc(strings.Fields(strings.ToLower(string(text))), func(word string) bool {
		return word == "enabled=yes"
	})
}

// forwardingFinding says whether what comes back to networks is forwarded. An attach turns it on, so what is off was
// never on, or was turned off since.
func forwardingFinding(out wayOut, facts plan.Facts, err error) engine.Finding {
	f := engine.Finding{Check: checkForwarding, Level: engine.OK}
	var off []string
	if len(facts.NotForwarding) > 0 {
		off = append(off, "IPv4 on "+strings.Join(facts.NotForwarding, ", "))
	}
	if facts.NotForwarding6 {
		off = append(off, "IPv6")
	}
	switch {
	case err != nil:
		f.Level, f.Means, f.Do = engine.Warn, "it is not known whether the host forwards: "+oneLine(err), "run lanhook doctor as root"
	case out.families() == (plan.Families{}):
		f.Means = "no network of the policy needs the host to forward"
	case len(off) == 0:
		f.Means = "the host forwards what networks need"
	default:
		f.Level = engine.Warn
		f.Means = fmt.Sprintf("the host does not forward %s: by that way neither answers nor clients get to %s", strings.Join(off, " and "),
			plural(slices.Compact(slices.Sorted(slices.Values(slices.Concat(out.v4, out.v6)))), "the bridge network"))
		f.Do = "lanhook repair, if containers are attached to them: the next attach turns it on, and nothing turns it off again; " +
			"to keep a link from forwarding, drop what comes in by it, in a table of your own, as docs/firewall.md shows"
	}
	return f
}

// conntrackFinding says whether there is room for connections: without, the kernel drops packets of all networks.
func conntrackFinding(files engine.Files) engine.Finding {
	const dir = "/proc/sys/net/netfilter/"
	number := func(name string) (int, bool) {
		text, err := files.Read(dir + name)
		n, numberErr := strconv.Atoi(strings.TrimSpace(string(text)))
		return n, err == nil && numberErr == nil
	}
	n, ok := number("nf_conntrack_count")
	most, okMost := number("nf_conntrack_max")
	f := engine.Finding{Check: checkConntrack, Level: engine.OK}
	// It is told at nine tenths, while connections are still made.
	switch {
	case !ok || !okMost || most == 0:
		f.Means = "no connection is tracked yet"
	case n > most/10*9:
		f.Level = engine.Warn
		f.Means = fmt.Sprintf("%d connections of at most %d are tracked: beyond, the kernel drops what begins a new one", n, most)
		f.Do = fmt.Sprintf("sysctl net.netfilter.nf_conntrack_max=%d, and in /etc/sysctl.d", most*2)
	default:
		f.Means = fmt.Sprintf("%d of at most %s are tracked", n, count(most, "connection"))
	}
	return f
}
