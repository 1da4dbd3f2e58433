package main

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lanhook/lanhook/hook/engine"
	"github.com/lanhook/lanhook/netsetup/kernel"
	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/policy"
)

// policyOf makes a policy of bridge networks with these subnets: apps has both families and leaves the host, db has IPv6
// and is internal, office is a piece of a LAN, for which the host does not forward, lan is no bridge.
func policyOf() *policy.Policy {
	subnets := func(words ...string) []policy.Subnet {
		var list []policy.Subnet
		for _, word := range words {
			list = append(list, policy.Subnet{Prefix: netip.MustParsePrefix(word)})
		}
		return list
	}
	return &policy.Policy{Networks: map[string]*policy.Network{
		"apps": {
			Name: "apps", Driver: policy.Bridge, Bridge: "lh-apps", Firewall: true, GatewayMode: policy.GatewayNAT,
			Subnets: subnets("172.30.0.0/16", "fd30::/64"),
		},
		"db": {
			Name: "db", Driver: policy.Bridge, Bridge: "lh-db", Firewall: true, Internal: true,
			GatewayMode: policy.GatewayNAT, Subnets: subnets("fd31::/64"),
		},
		"office": {
			Name: "office", Driver: policy.Bridge, Bridge: "trunk0", Uplink: policy.Parent{Name: "ens224.7"}, Access: 10,
			Subnets: subnets("10.0.10.0/24", "fd32::/64"),
		},
		"lan": {Name: "lan", Driver: policy.Macvlan, Subnets: subnets("192.168.1.0/24")},
	}}
}

// below makes a folder with these files, and others with the text "".
func below(t *testing.T, texts map[string]string) engine.Files {
	t.Helper()
	root := t.TempDir()
	for name, text := range texts {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return engine.Files{Root: root}
}

func TestFirewallFinding(t *testing.T) {
	missing := errors.New("add table inet lanhook: operation not supported")
	const load = "modprobe nf_tables nf_conntrack nft_ct nft_nat nft_masq nft_fib_inet nft_limit nf_conntrack_netlink, " +
		"or take a kernel that has them"
	for _, c := range []struct {
		name     string
		networks []string
		err      error
		want     engine.Finding
	}{
		{"there", []string{"apps"}, nil, engine.Finding{
			Check: "firewall", Level: engine.OK, Means: "nftables and connection tracking can do all that rules need",
		}},
		{"missing and not needed", nil, missing, engine.Finding{
			Check: "firewall", Level: engine.Warn, Means: "rules cannot be made: add table inet lanhook: operation not supported", Do: load,
		}},
		{"missing", filtered(policyOf()), missing, engine.Finding{
			Check: "firewall", Level: engine.Fail,
			Means: "rules cannot be made: add table inet lanhook: operation not supported: no container gets on the bridge " +
				"networks apps, db",
			Do: load + ", or say firewall = false there",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, firewallFinding(c.networks, c.err)); diff != "" {
				t.Errorf("the finding differs (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDropFindings(t *testing.T) {
	warn := func(chain, do string) []engine.Finding {
		return []engine.Finding{{
			Check: "forward", Level: engine.Warn,
			Means: chain + " drops what none of its rules accepts (which these are is not looked at): unless one accepts what lh-apps " +
				"forwards, containers there reach nothing beyond the host, and published ports do not answer",
			Do: do,
		}}
	}
	const ipFORWARD = "chain ip filter FORWARD"
	for _, c := range []struct {
		name   string
		files  map[string]string
		policy *policy.Policy
		chains []string
		err    error
		want   []engine.Finding
	}{
		{name: "none", policy: policyOf(), want: []engine.Finding{{
			Check: "forward", Level: engine.OK, Means: "no chain of the host's own drops what is forwarded",
		}}},
		{name: "not known", policy: policyOf(), err: errors.New("permission denied"), want: []engine.Finding{{
			Check: "forward", Level: engine.Warn, Means: "not all of the host's own rules were looked at: permission denied",
			Do: "run lanhook doctor as root",
		}}},
		{name: "nothing is forwarded", chains: []string{ipFORWARD}, want: []engine.Finding{{
			Check: "forward", Level: engine.OK, Means: "no network of the policy is forwarded; chain ip filter FORWARD would drop what is",
		}}},
		{
			name: "iptables", policy: policyOf(), chains: []string{ipFORWARD},
			want: warn(ipFORWARD, "iptables -I FORWARD -i lh-apps -j ACCEPT, the same with -o, and where these rules are kept"),
		},
		{
			name: "iptables, of what is bridged with tags too", policy: policyOf(), chains: []string{ipFORWARD},
			files: map[string]string{
				"proc/sys/net/bridge/bridge-nf-call-iptables": "1\n", "proc/sys/net/bridge/bridge-nf-filter-vlan-tagged": "1\n",
			},
			want: []engine.Finding{{
				Check: "forward", Level: engine.Warn,
				Means: ipFORWARD + " drops what none of its rules accepts (which these are is not looked at): unless one accepts what " +
					"lh-apps, trunk0 forwards, containers there reach nothing beyond the host, and published ports do not answer",
				Do: "iptables -I FORWARD -i BRIDGE -j ACCEPT, the same with -o, and where these rules are kept; BRIDGE is each of lh-apps, trunk0",
			}},
		},
		{
			name: "iptables, of what is bridged without tags", policy: policyOf(), chains: []string{ipFORWARD},
			files: map[string]string{
				"proc/sys/net/bridge/bridge-nf-call-iptables": "1\n", "proc/sys/net/bridge/bridge-nf-filter-vlan-tagged": "0\n",
			},
			want: warn(ipFORWARD, "iptables -I FORWARD -i lh-apps -j ACCEPT, the same with -o, and where these rules are kept"),
		},
		{
			name: "ip6tables", policy: policyOf(), chains: []string{"chain ip6 filter FORWARD"},
			want: warn("chain ip6 filter FORWARD", "ip6tables -I FORWARD -i lh-apps -j ACCEPT, the same with -o, and where these rules are kept"),
		},
		{
			name: "the older tables", policy: policyOf(), chains: []string{"iptables-legacy chain filter FORWARD"},
			files: map[string]string{"run/docker.pid": "1"},
			want: warn("iptables-legacy chain filter FORWARD",
				"iptables-legacy -I DOCKER-USER -o lh-apps -j ACCEPT, and -i lh-apps -o LINK for each LINK by which the host reaches others "+
					"(not one of Docker's), after each start of Docker"),
		},
		{
			name: "Docker", policy: policyOf(), chains: []string{ipFORWARD}, files: map[string]string{"run/docker.pid": "1"},
			want: warn(ipFORWARD, "iptables -I DOCKER-USER -o lh-apps -j ACCEPT, and -i lh-apps -o LINK for each LINK by which the host reaches others "+
				"(not one of Docker's), after each start of Docker"),
		},
		{
			name: "ufw", policy: policyOf(), chains: []string{ipFORWARD},
			files: map[string]string{"etc/ufw/ufw.conf": "# ufw\nENABLED=yes\nLOGLEVEL=low\n"},
			want:  warn(ipFORWARD, "ufw route allow in on lh-apps, and ufw route allow out on lh-apps"),
		},
		{
			name: "ufw that is off", policy: policyOf(), chains: []string{ipFORWARD},
			files: map[string]string{"etc/ufw/ufw.conf": "ENABLED=no\n"},
			want:  warn(ipFORWARD, "iptables -I FORWARD -i lh-apps -j ACCEPT, the same with -o, and where these rules are kept"),
		},
		{
			name: "firewalld", policy: policyOf(), chains: []string{"chain inet firewalld filter_FORWARD"},
			want: warn("chain inet firewalld filter_FORWARD",
				"firewall-cmd --permanent --zone=trusted --add-interface=lh-apps, then firewall-cmd --reload"),
		},
		{
			name: "an administrator's", policy: policyOf(), chains: []string{"chain inet filter forward"},
			want: warn("chain inet filter forward",
				"nft insert rule inet filter forward iifname lh-apps accept, the same with oifname, and where these rules are kept"),
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			files := below(t, c.files)
			got := dropFindings(files, bridges(files, c.policy), c.chains, c.err)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("the findings differ (-want +got):\n%s", diff)
			}
		})
	}
}

func TestForEach(t *testing.T) {
	const do = "iptables -I FORWARD -i BRIDGE -j ACCEPT"
	for want, bridges := range map[string][]string{
		"iptables -I FORWARD -i lh-a -j ACCEPT":                                {"lh-a"},
		"iptables -I FORWARD -i BRIDGE -j ACCEPT; BRIDGE is each of lh-a, br0": {"lh-a", "br0"},
	} {
		if got := forEach(do, bridges); got != want {
			t.Errorf("%v: %q, want %q", bridges, got, want)
		}
	}
}

func TestForwardingFinding(t *testing.T) {
	for _, c := range []struct {
		name   string
		policy *policy.Policy
		facts  plan.Facts
		err    error
		want   engine.Finding
	}{
		{name: "no policy", want: engine.Finding{
			Level: engine.OK, Means: "no network of the policy needs the host to forward",
		}},
		{name: "on", policy: policyOf(), want: engine.Finding{Level: engine.OK, Means: "the host forwards what networks need"}},
		{name: "off", policy: policyOf(), facts: plan.Facts{NotForwarding: []string{"eth0", "wg0"}, NotForwarding6: true}, want: engine.Finding{
			Level: engine.Warn,
			Means: "the host does not forward IPv4 on eth0, wg0 and IPv6: by that way neither answers nor clients get to the bridge network apps",
			Do: "lanhook repair, if containers are attached to them: the next attach turns it on, and nothing turns it off again; " +
				"to keep a link from forwarding, drop what comes in by it, in a table of your own, as docs/firewall.md shows",
		}},
		{name: "not known", policy: policyOf(), err: errors.New("operation not permitted"), want: engine.Finding{
			Level: engine.Warn, Means: "it is not known whether the host forwards: operation not permitted", Do: "run lanhook doctor as root",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.want.Check = "forwarding"
			if diff := cmp.Diff(c.want, forwardingFinding(outward(c.policy), c.facts, c.err)); diff != "" {
				t.Errorf("the finding differs (-want +got):\n%s", diff)
			}
		})
	}
}

func TestConntrackFinding(t *testing.T) {
	const dir = "proc/sys/net/netfilter/nf_conntrack_"
	for _, c := range []struct {
		name  string
		files map[string]string
		want  engine.Finding
	}{
		{"not loaded", nil, engine.Finding{Level: engine.OK, Means: "no connection is tracked yet"}},
		{"room", map[string]string{dir + "count": "90\n", dir + "max": "100\n"}, engine.Finding{
			Level: engine.OK, Means: "90 of at most 100 connections are tracked",
		}},
		{"nearly full", map[string]string{dir + "count": "91\n", dir + "max": "100\n"}, engine.Finding{
			Level: engine.Warn, Means: "91 connections of at most 100 are tracked: beyond, the kernel drops what begins a new one",
			Do: "sysctl net.netfilter.nf_conntrack_max=200, and in /etc/sysctl.d",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.want.Check = "conntrack"
			if diff := cmp.Diff(c.want, conntrackFinding(below(t, c.files))); diff != "" {
				t.Errorf("the finding differs (-want +got):\n%s", diff)
			}
		})
	}
}

func TestKindFinding(t *testing.T) {
	none := errors.New("operation not supported")
	for _, c := range []struct {
		kind, module string
		err          error
		p            *policy.Policy
		want         engine.Finding
	}{
		{"vlan", "8021q", nil, policyOf(), engine.Finding{Check: "kernel", Level: engine.OK, Means: "vlan links can be made"}},
		{"vlan", "8021q", none, policyOf(), engine.Finding{
			Check: "kernel", Level: engine.Fail,
			Means: "vlan links cannot be made: operation not supported: no container gets on the network office",
			Do:    "modprobe 8021q, or take a kernel that has it",
		}},
		{"ipvlan", "ipvlan", none, policyOf(), engine.Finding{
			Check: "kernel", Level: engine.OK,
			Means: "ipvlan links cannot be made: operation not supported, and no network of the policy needs one",
		}},
		{"ipvlan", "ipvlan", none, nil, engine.Finding{
			Check: "kernel", Level: engine.Warn,
			Means: "ipvlan links cannot be made: operation not supported; without a policy it is not known whether a network needs one",
			Do:    "modprobe ipvlan, or take a kernel that has it",
		}},
		{"veth", "veth", none, policyOf(), engine.Finding{
			Check: "kernel", Level: engine.Fail,
			Means: "veth links cannot be made: operation not supported: no container gets on the networks apps, db, office",
			Do:    "modprobe veth, or take a kernel that has it",
		}},
		{"macvlan", "macvlan", none, nil, engine.Finding{
			Check: "kernel", Level: engine.Fail,
			Means: `macvlan links cannot be made: operation not supported: no container gets on a network with driver = "macvlan"`,
			Do:    "modprobe macvlan, or take a kernel that has it",
		}},
	} {
		t.Run(c.kind, func(t *testing.T) {
			got := kindFinding(kernel.Probed{Kind: c.kind, Module: c.module, Err: c.err}, c.p)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
