//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// The drivers that are measured on a kernel which has them, beside ip(8): in a virtual machine, see docs/performance.md.
const (
	ipvlan driver = "ipvlan"
	// macvlanOnVLAN makes the sub-interface for the first container and removes it with the last, which is each one here.
	macvlanOnVLAN driver = "macvlan-vlan"
	vlan          driver = "vlan"
)

func guestDrivers() []driver { return []driver{macvlan, ipvlan, macvlanOnVLAN, vlan} }

// guestPolicy is a policy with one network, which is named as its driver: not all of them can be on one link.
func guestPolicy(d driver) string {
	n := map[driver]struct{ options, subnet string }{
		macvlan:       {"driver = \"macvlan\"\nconflict = \"off\"", "10.66"},
		ipvlan:        {"driver = \"ipvlan\"\nconflict = \"off\"", "10.73"},
		macvlanOnVLAN: {"driver = \"macvlan\"\nconflict = \"off\"\nvlan = 50", "10.74"},
		vlan:          {"driver = \"vlan\"\nconflict = \"off\"\nvlan = 60", "10.75"},
	}[d]
	return fmt.Sprintf(`version = 1

[network.%[1]s]
parent = "lan0"
%[2]s

  [[network.%[1]s.subnet]]
  subnet  = "%[3]s.0.0/16"
  range   = "%[3]s.16.0/20"
  gateway = "%[3]s.0.1"
`, d, n.options, n.subnet) + ruleText
}

// ipBatch is what an administrator's script would be: ip -batch on the host for the link, and another one in the
// container for address, name and route. It keeps no account of addresses, writes no record, and sets nothing beside.
type ipBatch struct{ *lab }

func (*ipBatch) name() string   { return "ip" }
func (*ipBatch) late() bool     { return true }
func (*ipBatch) bridge() string { return "" }

func (p *ipBatch) attach(_ *host, c *container, d driver) command {
	subnet := map[driver]int{macvlan: 66, ipvlan: 73, macvlanOnVLAN: 74, vlan: 75}[d]
	link := fmt.Sprintf("ip%d", c.number)
	var host []string
	switch d {
	case bridge, published, asked, reached:
	case macvlan:
		host = []string{fmt.Sprintf("link add link lan0 name %s netns %d type macvlan mode bridge", link, c.process.Pid)}
	case ipvlan:
		host = []string{fmt.Sprintf("link add link lan0 name %s netns %d type ipvlan mode l2", link, c.process.Pid)}
	case macvlanOnVLAN:
		host = []string{
			"link add link lan0 name lan0.50 type vlan id 50", "link set lan0.50 up",
			fmt.Sprintf("link add link lan0.50 name %s netns %d type macvlan mode bridge", link, c.process.Pid),
		}
	case vlan:
		host = []string{fmt.Sprintf("link add link lan0 name %s netns %d type vlan id 60", link, c.process.Pid)}
	}
	inside := []string{
		fmt.Sprintf("addr add 10.%d.%d.%d/16 dev %s", subnet, 64+c.number>>8&0x3f, c.number&0xff, link),
		fmt.Sprintf("link set %s name eth0 up", link),
		fmt.Sprintf("route add default via 10.%d.0.1 dev eth0", subnet),
	}
	return p.script(
		batch("/usr/sbin/ip", host),
		batch(fmt.Sprintf("/usr/bin/nsenter -t %d -n /usr/sbin/ip", c.process.Pid), inside),
	)
}

// detach removes what is left on the host when the container's namespace is gone.
func (p *ipBatch) detach(_ *host, _ *container, d driver) command {
	if d == macvlanOnVLAN {
		return p.script(batch("/usr/sbin/ip", []string{"link del lan0.50"}))
	}
	return p.script()
}

func batch(ip string, lines []string) string {
	return ip + " -batch - <<'END'\n" + strings.Join(lines, "\n") + "\nEND\n"
}

// script is one for dash, Debian's /bin/sh.
func (p *ipBatch) script(parts ...string) command {
	return command{argv: []string{"/bin/sh", "-e"}, stdin: []byte(strings.Join(parts, "")), silent: true}
}

// runGuest measures what only a kernel with all drivers can show.
func runGuest(l *lab, m measurements, say func(string)) error {
	b := &bencher{lab: l, measurements: m, lanhook: &lanhook{l}, say: say}
	var err error
	if b.host, err = l.newHost("machine"); err != nil {
		return err
	}
	list := []contender{b.lanhook, &ipBatch{l}}
	for _, d := range guestDrivers() {
		say(fmt.Sprintf("%s: %d rounds", d, b.rounds))
		if err := os.WriteFile(policyFile, []byte(guestPolicy(d)), 0o600); err != nil {
			return err
		}
		// The first round loads modules and reads programs from the disk.
		if err := (&bencher{lab: l, measurements: measurements{}, lanhook: b.lanhook, host: b.host}).turns(0, d, none, list); err != nil {
			return fmt.Errorf("%s: %w", d, err)
		}
		for round := range b.rounds {
			if err := b.turns(round, d, none, list); err != nil {
				return fmt.Errorf("%s: %w", d, err)
			}
			if err := b.yardsticks(); err != nil {
				return err
			}
		}
		if err := b.expect(0); err != nil {
			return err
		}
	}
	return nil
}

// guestPrograms are what runGuest needs.
func guestPrograms(c config) []string {
	return []string{
		c.lanhook, filepath.Join(c.tools, "stopwatch"), filepath.Join(c.tools, "empty"),
		"/usr/sbin/ip", "/usr/bin/nsenter", "/bin/sh",
	}
}

// guestTargets are what is to be reached there.
func (m measurements) guestTargets() []target {
	var list []target
	for _, d := range guestDrivers() {
		own := m.row(what{d, attachOp, none, "lanhook"}).Median
		other := m.row(what{d, attachOp, none, "ip"}).Median
		list = append(list, target{fmt.Sprintf("%s attach, lanhook / ip -batch", d), own / other, 1.5, times, own/other <= 1.5})
	}
	return list
}
