//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"path/filepath"
)

// atOnce is how many containers start together. It is the same in a smoke test.
const atOnce = 100

// What is measured.
const (
	attachOp = "attach"
	detachOp = "detach"
	runOp    = "run"
)

// Where it is measured.
const (
	none  = "none"  // nothing else is attached
	many  = "many"  // a thousand containers are
	first = "first" // nothing else is attached, and the bridge is made and removed
	burst = "burst" // a hundred start at once

	besideAsked   = "beside asked"   // taking turns with those whose LAN is asked
	besideReached = "beside reached" // taking turns with those that the host reaches
)

// what names one row and column of the results.
type what struct {
	Driver    driver
	Operation string
	Scene     string
	Contender string
}

// measurements are all samples, without what programs printed.
type measurements map[what][]sample

func (m measurements) add(w what, s sample) {
	s.out = nil
	m[w] = append(m[w], s)
}

// bencher is one run.
type bencher struct {
	*lab
	measurements
	lanhook *lanhook
	host    *host
	say     func(string)
}

// runAll measures everything. say is told what comes next.
func runAll(l *lab, m measurements, say func(string)) error {
	b := &bencher{lab: l, measurements: m, lanhook: &lanhook{l}, say: say}
	const name = "machine"
	w, err := b.newWrapper(name)
	if err != nil {
		return err
	}
	if b.host, err = l.newHost(name); err != nil {
		return err
	}
	for _, d := range []driver{macvlan, bridge} {
		if err := b.alone(d); err != nil {
			return fmt.Errorf("%s: %w", d, err)
		}
	}
	if err := b.asking(); err != nil {
		return fmt.Errorf("conflict: %w", err)
	}
	if err := b.reaching(); err != nil {
		return fmt.Errorf("host-access: %w", err)
	}
	if err := b.publishing(); err != nil {
		return fmt.Errorf("published ports: %w", err)
	}
	say("bridge that is made by the first container and removed with the last")
	if err := b.firsts(); err != nil {
		return fmt.Errorf("first container on a bridge: %w", err)
	}
	say(fmt.Sprintf("%d at once", atOnce))
	if err := b.bursts(); err != nil {
		return fmt.Errorf("%d at once: %w", atOnce, err)
	}
	say("creating a container by lanhook-runtime")
	for range b.rounds {
		if err := b.create(w); err != nil {
			return fmt.Errorf("lanhook-runtime: %w", err)
		}
	}
	return nil
}

// alone measures all contenders where nothing else is attached on the whole machine, half of the rounds before the
// crowd and half after it: what the machine does otherwise changes while the bench runs. Within a round they take turns,
// and each round begins with another one.
//
// The crowd must not even be beside them on another host. It slows everybody down: to open a file below /proc/sys/net,
// the kernel looks through the entries of all network namespaces (proc_sys_compare in fs/proc/proc_sysctl.c).
func (b *bencher) alone(d driver) error {
	b.say(fmt.Sprintf("%s: nothing attached, %d rounds before", d, b.rounds/2))
	if err := b.few(d, b.rounds/2); err != nil {
		return err
	}
	b.say(fmt.Sprintf("%s: attach %d containers", d, b.crowd))
	crowd, err := b.populate(d)
	if err != nil {
		return err
	}
	b.say(fmt.Sprintf("%s: %d attached, %d rounds", d, b.crowd, b.rounds))
	// Floor joins lanhook's bridge here: how many ports a bridge has is not the same to the kernel.
	for round := range b.rounds {
		if err := b.turns(round, d, many, []contender{
			&floor{lab: b.lab, link: b.lanhook.bridge(), subnet: 67}, b.lanhook,
		}); err != nil {
			return err
		}
	}
	b.say(fmt.Sprintf("%s: gc of %d dead containers", d, b.crowd))
	if err := b.collect(crowd, d); err != nil {
		return err
	}
	b.say(fmt.Sprintf("%s: nothing attached, %d rounds after", d, b.rounds-b.rounds/2))
	return b.few(d, b.rounds-b.rounds/2)
}

// few measures all contenders without a crowd. For a bridge each has one container there, so that all find theirs made.
func (b *bencher) few(d driver, rounds int) error {
	var residents []*container
	all := contenders(b.lab)
	if d == bridge {
		for _, c := range all {
			r, err := b.newContainer()
			if err != nil {
				return err
			}
			residents = append(residents, r)
			if _, err := b.measure(b.host, c.attach(b.host, r, d)); err != nil {
				return err
			}
		}
	}
	for round := range rounds {
		if err := b.turns(round, d, none, all); err != nil {
			return err
		}
		if err := b.yardsticks(); err != nil {
			return err
		}
	}
	return b.forget(residents, d, all)
}

// turns is one round.
func (b *bencher) turns(round int, d driver, scene string, list []contender) error {
	for i := range list {
		if err := b.cycle(list[(round+i)%len(list)], d, scene); err != nil {
			return err
		}
	}
	return nil
}

// populate attaches many containers.
func (b *bencher) populate(d driver) ([]*container, error) {
	crowd, err := b.newContainers(b.crowd)
	if err != nil {
		return nil, err
	}
	for _, c := range crowd {
		if _, err := b.measure(b.host, b.lanhook.attach(b.host, c, d)); err != nil {
			return nil, err
		}
	}
	return crowd, b.expect(b.crowd)
}

// cycle measures attach and detach of a fresh container.
func (b *bencher) cycle(p contender, d driver, scene string) error {
	c, err := b.newContainer()
	if err != nil {
		return err
	}
	s, err := b.carryOut(p, add, c, d)
	if err != nil {
		return err
	}
	c.told = s.out[0]
	b.add(what{d, attachOp, scene, p.name()}, s)
	if p.late() {
		if err := b.end(c); err != nil {
			return err
		}
	}
	if s, err = b.carryOut(p, del, c, d); err != nil {
		return err
	}
	b.add(what{d, detachOp, scene, p.name()}, s)
	if p.late() {
		return nil
	}
	return b.end(c)
}

// yardsticks are what it costs to start any program, and any Go program.
func (b *bencher) yardsticks() error {
	for _, program := range []string{"/bin/true", filepath.Join(b.tools, "empty")} {
		s, err := b.measure(b.host, command{argv: []string{program}})
		if err != nil {
			return err
		}
		b.add(what{"", runOp, none, filepath.Base(program)}, s)
	}
	return nil
}

// forget ends residents, and removes what their contenders would leave.
func (b *bencher) forget(residents []*container, d driver, all []contender) error {
	if len(residents) == 0 {
		return b.expect(0)
	}
	if err := b.expect(1); err != nil {
		return err
	}
	if err := b.end(residents...); err != nil {
		return err
	}
	for i, c := range all {
		if c.name() == b.lanhook.name() {
			if _, err := b.measure(b.host, c.detach(b.host, residents[i], d)); err != nil {
				return err
			}
			continue
		}
		if err := b.ip(b.host, "link del "+c.bridge()); err != nil {
			return err
		}
	}
	return b.expect(0)
}

// collect ends the crowd and measures how long gc takes to clear up after it.
func (b *bencher) collect(crowd []*container, d driver) error {
	if err := b.end(crowd...); err != nil {
		return err
	}
	s, err := b.measure(b.host, b.lanhook.command(b.host, "gc"))
	if err != nil {
		return err
	}
	b.add(what{d, "gc", many, b.lanhook.name()}, s)
	return b.expect(0)
}

// firsts measures containers that are alone on their bridge.
func (b *bencher) firsts() error {
	all := contenders(b.lab)
	for _, c := range all {
		if f, ok := c.(*floor); ok {
			f.last = true
		}
	}
	for range max(1, b.rounds/3) {
		for _, c := range all {
			if err := b.cycle(c, bridge, first); err != nil {
				return err
			}
			if c.name() != (&cni{}).name() {
				continue
			}
			// CNI leaves its bridge.
			if err := b.ip(b.host, "link del "+c.bridge()); err != nil {
				return err
			}
		}
	}
	return nil
}

// bursts measures many containers that start at the same time.
func (b *bencher) bursts() error {
	empty := make([]command, atOnce)
	for i := range empty {
		empty[i] = command{argv: []string{filepath.Join(b.tools, "empty")}}
	}
	for range max(1, b.rounds/10) {
		s, err := b.measure(b.host, empty...)
		if err != nil {
			return err
		}
		b.add(what{"", runOp, burst, "empty"}, s)
		for _, c := range contenders(b.lab) {
			if !c.late() {
				continue
			}
			if err := b.burst(c); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *bencher) burst(p contender) error {
	list, err := b.newContainers(atOnce)
	if err != nil {
		return err
	}
	commands := make([]command, 0, atOnce)
	for _, c := range list {
		commands = append(commands, p.attach(b.host, c, macvlan))
	}
	s, err := b.measure(b.host, commands...)
	if err != nil {
		return err
	}
	b.add(what{macvlan, attachOp, burst, p.name()}, s)
	if p.name() == b.lanhook.name() {
		if err := b.expect(atOnce); err != nil {
			return err
		}
	}
	if err := b.end(list...); err != nil {
		return err
	}
	_, err = b.measure(b.host, b.lanhook.command(b.host, "gc"))
	return err
}

// listed is what lanhook ls --json says of one container.
type listed struct {
	Container  string
	Interfaces []struct {
		Addresses []netip.Prefix
	}
}

// expect looks whether lanhook has n containers, each with an address of its own.
func (b *bencher) expect(n int) error {
	s, err := b.measure(b.host, b.lanhook.command(b.host, "ls", "--json"))
	if err != nil {
		return err
	}
	var list []listed
	if err := json.Unmarshal(s.out[0], &list); err != nil {
		return fmt.Errorf("read what lanhook ls says: %w", err)
	}
	return check(list, n)
}

// check wants n containers, each with an address of its own.
func check(list []listed, n int) error {
	if len(list) != n {
		return fmt.Errorf("lanhook ls has %d containers, want %d", len(list), n)
	}
	holder := map[netip.Addr]string{}
	for _, c := range list {
		if len(c.Interfaces) != 1 || len(c.Interfaces[0].Addresses) != 1 {
			return fmt.Errorf("lanhook ls: container %s has not one interface with one address", c.Container)
		}
		addr := c.Interfaces[0].Addresses[0].Addr()
		if other, taken := holder[addr]; taken {
			return fmt.Errorf("lanhook ls: %s belongs to %s and to %s", addr, other, c.Container)
		}
		holder[addr] = c.Container
	}
	return nil
}
