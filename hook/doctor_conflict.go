package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"sort"

	"github.com/lanhook/lanhook/hook/engine"
	"github.com/lanhook/lanhook/netsetup/kernel"
	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/netsetup/process"
	"github.com/lanhook/lanhook/netsetup/store"
	"github.com/lanhook/lanhook/policy"
)

const checkConflict = "conflict"

// attached is an address of a container that runs, on a LAN where the container itself does not answer the host.
type attached struct {
	addr      netip.Addr
	mac       plan.MAC
	container string
	uplink    string
}

// conflictFindings ask the LANs whether somebody else has an address of a container that runs. An attach asks too, but who comes
// later and does not ask is found by nobody.
func (a *app) conflictFindings(ctx context.Context) []engine.Finding {
	unknown := func(err error) []engine.Finding {
		f := engine.Finding{
			Check: checkConflict, Level: engine.Warn, Means: "not every LAN was asked who else has addresses of containers: " + oneLine(err),
			Do: "run lanhook doctor as root",
		}
		if os.Geteuid() == 0 {
			f.Do = "put that right, and run lanhook doctor again"
		}
		return []engine.Finding{f}
	}
	records, err := a.records(ctx)
	if err != nil {
		return unknown(err)
	}
	host, err := kernel.Open()
	if err != nil {
		return unknown(err)
	}
	defer host.Close()
	all, bridged, err := onLANs(records, host.Alive)
	if err != nil {
		return unknown(err)
	}
	have, err := askOn(ctx, host, byUplink(all))
	found := others(all, bridged, have)
	if err != nil {
		// That nobody else answers is not known then.
		found = append(slices.DeleteFunc(found, func(f engine.Finding) bool { return f.Level == engine.OK }), unknown(err)...)
	}
	return found
}

// askOn asks for addresses on links of the host, by their names. The error is why some were not asked.
func askOn(ctx context.Context, host *kernel.Host, byName map[string][]netip.Addr) (map[string]map[netip.Addr]plan.MAC, error) {
	questions, names := map[int][]netip.Addr{}, map[int]string{}
	var unasked []error
	for uplink, addrs := range byName {
		link, ok, err := host.Link(uplink)
		switch {
		case err == nil && !ok:
			err = fmt.Errorf("link %s is not there", uplink)
		case err == nil && !link.Up:
			err = fmt.Errorf("link %s is down", uplink)
		case err == nil && len(link.MAC) == 6: // on others nobody can be asked so, and nobody else answers so
			questions[link.Index], names[link.Index] = addrs, uplink
		}
		unasked = append(unasked, err)
	}
	answers, err := host.Ask(ctx, questions)
	have := map[string]map[netip.Addr]plan.MAC{}
	for index, of := range answers {
		have[names[index]] = of
	}
	return have, errors.Join(append(unasked, err)...)
}

// onLANs are the addresses of containers that run, on parents, and the number of those on bridges with an uplink: there a container
// answers the host itself, so that nobody hears whether somebody else does. there says by its number whether a namespace is there.
func onLANs(records []store.Record, there func(nsid int) (bool, error)) (all []attached, bridged int, err error) {
	for _, rec := range records {
		runs, err := running(rec, there)
		if err != nil {
			return nil, 0, err
		}
		if !runs {
			continue
		}
		for _, i := range rec.Interfaces {
			if hasUplink(rec.Steps, i.Uplink) {
				bridged += len(i.Addresses) + len(i.Learned)
			}
			if i.Driver != policy.Macvlan.String() && (i.Driver != policy.IPVLAN.String() || routes(rec.Steps, i.Uplink)) {
				continue
			}
			for _, p := range slices.Concat(i.Addresses, i.Learned) {
				all = append(all, attached{p.Addr(), i.MAC, cmp.Or(rec.Workload, rec.Container), i.Uplink})
			}
		}
	}
	return all, bridged, nil
}

// hasUplink says whether steps put an uplink to a bridge.
func hasUplink(steps plan.Steps, bridge string) bool {
	return slices.ContainsFunc(steps, func(step plan.Step) bool {
		s, ok := step.(plan.EnsureUplink)
		return ok && s.Bridge == bridge
	})
}

// routes says whether the ipvlan children on a parent, which are all of one mode, neither ask by ARP nor answer: the host routes what
// is theirs (drivers/net/ipvlan, IFF_NOARP in the modes l3 and l3s).
func routes(steps plan.Steps, parent string) bool {
	return slices.ContainsFunc(steps, func(step plan.Step) bool {
		s, ok := step.(plan.AddIPVLAN)
		return ok && s.Parent == parent && s.Mode != policy.ModeL2
	})
}

// running says whether a container has what its record says. Of one that was attached by the path of its namespace no process is
// known: it has it as long as the namespace is there.
func running(rec store.Record, there func(nsid int) (bool, error)) (bool, error) {
	switch {
	case rec.State != store.Attached || rec.Left:
		return false, nil
	case rec.Process.PID == 0:
		return there(rec.NetNS.NSID)
	}
	return process.Process(rec.Process).Alive(), nil
}

func byUplink(all []attached) map[string][]netip.Addr {
	addrs := map[string][]netip.Addr{}
	for _, c := range all {
		addrs[c.uplink] = append(addrs[c.uplink], c.addr)
	}
	return addrs
}

// others says who else answered for addresses of containers, by the links on which they were asked for, and that nobody was asked for
// those on bridges.
func others(all []attached, bridged int, have map[string]map[netip.Addr]plan.MAC) []engine.Finding {
	var found []engine.Finding
	for _, c := range all {
		mac, answered := have[c.uplink][c.addr]
		if !answered || bytes.Equal(mac, c.mac) {
			continue
		}
		found = append(found, engine.Finding{
			Check: checkConflict, Level: engine.Fail,
			Means: fmt.Sprintf("%s answers for %s on %s, which container %s has: who sends there reaches now one of them and now the other",
				mac, c.addr, c.uplink, short(c.container)),
			Do: "find that host by its MAC address and give it another address, or keep this one back by exclude and start the container again",
		})
	}
	sort.SliceStable(found, func(i, j int) bool { return found[i].Means < found[j].Means })
	if len(found) > 0 {
		return found
	}
	means := "no container that runs has an address on a LAN"
	if len(all) > 0 {
		means = fmt.Sprintf("nobody else answers for %s of containers on macvlan and ipvlan", plainCount(len(all), "address", "addresses"))
	} else if bridged > 0 {
		means = "no container that runs has an address on a LAN by macvlan or ipvlan"
	}
	if bridged > 0 {
		means += fmt.Sprintf("; nobody was asked for %s of containers on bridges with an uplink", plainCount(bridged, "address", "addresses"))
	}
	return []engine.Finding{{Check: checkConflict, Level: engine.OK, Means: means}}
}

// plainCount is a number of things whose plural is not made by an s.
func plainCount(n int, one, many string) string {
	if n == 1 {
		return "the " + one
	}
	return fmt.Sprintf("the %d %s", n, many)
}
