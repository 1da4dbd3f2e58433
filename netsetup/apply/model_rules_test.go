package apply_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/policy"
)

// modelRules are lanhook's tables: entries that are a record's, those that are a bridge's, and guards. They refuse an
// entry whose key has other data, and to take rules or a guard from a link that is still there.
type modelRules struct {
	// tables are those that there are, and "admin" for a chain of the administrator's in the table inet.
	tables map[string]bool
	// entries are by key; gates by bridge.
	entries map[string]entry
	gates   map[string]string
	// ports and guards say for which link there are rules, by record or table.
	ports  map[*modelLink]string
	guards map[string]*modelLink
}

// entry is what a key stands for, and the record that wants it.
type entry struct{ data, record string }

func newModelRules() modelRules {
	return modelRules{
		tables: map[string]bool{}, entries: map[string]entry{}, gates: map[string]string{},
		ports: map[*modelLink]string{}, guards: map[string]*modelLink{},
	}
}

func (r *modelRules) snapshot() []string {
	var lines []string
	for t := range r.tables {
		lines = append(lines, "table "+t)
	}
	for key, e := range r.entries {
		lines = append(lines, fmt.Sprintf("entry %s %+v", key, e))
	}
	for bridge, gate := range r.gates {
		lines = append(lines, "gate of "+bridge+": "+gate)
	}
	for table := range r.guards {
		lines = append(lines, "guard "+table)
	}
	return lines
}

func (m *model) applyRules(step plan.Step) error {
	switch s := step.(type) {
	case plan.EnsureForwarding: // not undone, so there is nothing to remember
		if !m.rules.tables["inet"] {
			return fmt.Errorf("the host is to forward before there are rules: %w", errBusy)
		}
		return nil
	case plan.AddRules:
		return m.addRules(s)
	case plan.DelRules:
		return m.delRules(s)
	case plan.ReleaseRules:
		return m.rules.release()
	case plan.ReservePorts:
		for _, p := range s.Ports {
			m.reserved[p] = true
		}
		return nil
	case plan.ReleasePorts:
		for _, p := range s.Ports {
			delete(m.reserved, p)
		}
		return nil
	case plan.SetRate:
		return m.setRate(s)
	case plan.AddGuard:
		return m.addGuard(s)
	case plan.DelGuard:
		return m.delGuard(s)
	}
	return fmt.Errorf("unknown step %T", step)
}

// entriesOf are the entries of one interface, by key.
func entriesOf(record string, r plan.Rules) map[string]entry {
	all := map[string]entry{}
	put := func(key, data string) { all[key] = entry{data, record} }
	for _, a := range r.Addresses {
		put(fmt.Sprintf("inet home %s %s", a, r.Bridge), "")
	}
	for _, a := range r.Masquerade {
		put(fmt.Sprintf("inet masquerade %s", a), "")
	}
	for _, a := range r.Detour {
		put(fmt.Sprintf("inet detour %s", a), "")
	}
	for _, a := range r.Unbound {
		put(fmt.Sprintf("inet unbound %s", a), "")
	}
	for _, t := range r.SNAT {
		put(fmt.Sprintf("inet snat %s", t.From), t.To.String())
	}
	for _, t := range r.DNAT {
		put(fmt.Sprintf("inet whole %s", t.From), t.To.String())
	}
	for _, p := range r.Publish {
		for n := range p.Count {
			put(fmt.Sprintf("inet publish %s %s %d", p.Addr, p.Protocol, int(p.Host)+n),
				fmt.Sprintf("%s %d", p.To.Addr(), int(p.To.Port())+n))
		}
	}
	if r.Spoof {
		put("bridge guarded "+r.Port, fmt.Sprint(r.MAC, r.Addresses))
	}
	if r.Out != (policy.Rate{}) {
		put("bridge rate "+r.Port, fmt.Sprint(r.Out))
	}
	return all
}

// addRules is one transaction: all of it, or nothing.
func (m *model) addRules(s plan.AddRules) error {
	for _, r := range s.Of {
		port, ok := m.host[r.Port]
		switch {
		case !ok || port.master != r.Bridge:
			return errNoDev
		case m.container[port.peer] == nil || m.container[port.peer].up:
			return fmt.Errorf("rules of %s come after it is up: %w", r.Port, errBusy)
		}
		for key, e := range entriesOf(s.Record, r) {
			if old, there := m.rules.entries[key]; there && old.data != e.data {
				return errExist
			}
		}
	}
	for _, r := range s.Of {
		m.rules.ports[m.host[r.Port]] = s.Record
		if r.Gate != plan.Open {
			m.rules.gates[r.Bridge] = fmt.Sprint(r.Gate, r.ICC, r.Isolate)
			m.rules.tables["inet"] = true
		}
		for key, e := range entriesOf(s.Record, r) {
			m.rules.entries[key] = e
			table, _, _ := strings.Cut(key, " ")
			m.rules.tables[table] = true
		}
	}
	return nil
}

// delRules leaves an entry whose key stands for something else: it is another record's.
func (m *model) delRules(s plan.DelRules) error {
	for _, r := range s.Of {
		if port := m.host[r.Port]; port != nil && m.rules.ports[port] == s.Record {
			return fmt.Errorf("%s is still there and would have no rules: %w", r.Port, errBusy)
		}
		for key, e := range entriesOf(s.Record, r) {
			if m.rules.entries[key] == e {
				delete(m.rules.entries, key)
			}
		}
	}
	return nil
}

func (r *modelRules) dropBridge(name string) { delete(r.gates, name) }

// release removes the tables, which nobody's entries may need any more, but for what is the administrator's.
func (r *modelRules) release() error {
	if len(r.entries) > 0 {
		return fmt.Errorf("delete the tables: %w", errBusy)
	}
	clear(r.gates)
	maps.DeleteFunc(r.tables, func(name string, _ bool) bool { return !r.tables["admin"] || name == "bridge" })
	return nil
}

func (m *model) setRate(s plan.SetRate) error {
	links := m.container
	if s.Side == plan.Host {
		links = m.host
	}
	l, ok := links[s.If]
	if !ok {
		return errNoDev
	}
	l.rate = fmt.Sprint(s.Rate)
	return nil
}

// addGuard needs the link under the name that it keeps: a guard does nothing once its link has another.
func (m *model) addGuard(s plan.AddGuard) error {
	l, ok := m.container[s.If]
	switch {
	case !ok || !l.up:
		return errNoDev
	case m.rules.guards[s.Table] != nil:
		return errExist
	}
	m.rules.guards[s.Table] = l
	return nil
}

func (m *model) delGuard(s plan.DelGuard) error {
	if l := m.rules.guards[s.Table]; slices.Contains(slices.Collect(maps.Values(m.container)), l) {
		return fmt.Errorf("the link of guard %s is still there: %w", s.Table, errBusy)
	}
	delete(m.rules.guards, s.Table)
	return nil
}
