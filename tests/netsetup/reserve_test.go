//go:build linux

package netsetup_test

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lanhook/lanhook/netsetup"
	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/netsetup/process"
	"github.com/lanhook/lanhook/netsetup/store"
	"github.com/lanhook/lanhook/tests/nettest"
)

// reserving is a network with more keys, and a range of two addresses: 10.77.0.8 and .9.
func reserving(options string) string {
	return strings.NewReplacer("driver", options+"\ndriver", "gateway", "range = \"10.77.0.8-10.77.0.9\"\ngateway").Replace(lan4)
}

func address4(t *testing.T, i plan.Interface) string {
	t.Helper()
	return onlyAddress(t, i, netip.Addr.Is4).String()
}

func TestReserved(t *testing.T) {
	const printer = "network=lan"
	t.Run("given without asking, again and again, in both families", func(t *testing.T) {
		w := newWorld(t, strings.Replace(lan, "driver", `reserve = { printer = ["10.77.0.77", "fd77::77"] }`+"\ndriver", 1))
		for _, id := range []string{"c1", "c2"} {
			c := w.box(t, id)
			r := c.attach(t, printer, "name=printer")
			if got := fmt.Sprint(r.Interfaces[0].Addresses); got != "[10.77.0.77/24 fd77::77/64]" || r.Warnings != nil {
				t.Errorf("%s has %s, and a warning %v", id, got, r.Warnings)
			}
			c.Ping(t, nettest.PeerPrefix4().Addr())
			w.done(t, c)
		}
	})
	t.Run("in one family only, or below a bridge", func(t *testing.T) {
		w := newWorld(t, appsWith(`reserve = { printer = "172.30.0.77" }`))
		c := w.box(t, "c")
		i := c.attach(t, "network=apps", "name=printer").Interfaces[0]
		if got := address4(t, i); got != "172.30.0.77" {
			t.Errorf("it has %s", got)
		}
		onlyAddress(t, i, netip.Addr.Is6)
		w.done(t, c)
	})
	t.Run("never lent, and never had by asking", func(t *testing.T) {
		same := strings.Replace(lan4, "network.lan", "network.other", 2)
		w := newWorld(t, reserving(`reserve = { printer = "10.77.0.9" }`)+same)
		one, two := w.box(t, "one"), w.box(t, "two")
		if got := address4(t, one.attach(t, "network=lan").Interfaces[0]); got != "10.77.0.8" {
			t.Errorf("it has %s", got)
		}
		two.refused(t, "all 2 are in use by one, printer (reserved)", "network=lan")
		two.refused(t, `address 10.77.0.9 is reserved for "printer"`, "network=lan,ip=10.77.0.9")
		two.refused(t, `address 10.77.0.9 is reserved for "printer"`, "network=other,ip=10.77.0.9", "name=printer")
		two.attach(t, "network=lan,ip=10.77.0.9", "name=printer")
		w.done(t, one, two)
	})
	t.Run("of two containers of the name the second has another", func(t *testing.T) {
		w := newWorld(t, strings.Replace(lan4, "driver", `reserve = { printer = "10.77.0.77" }`+"\ndriver", 1))
		one, two, three := w.box(t, "one"), w.box(t, "two"), w.box(t, "three")
		first := one.attach(t, printer, "name=printer").Interfaces[0]
		r := two.attach(t, printer, "name=printer")
		if address4(t, first) != "10.77.0.77" || address4(t, r.Interfaces[0]) == "10.77.0.77" || first.MAC.String() == r.Interfaces[0].MAC.String() {
			t.Errorf("the first has %+v, the second %+v", first, r.Interfaces)
		}
		if r.Warnings == nil || !strings.Contains(r.Warnings.Error(), `10.77.0.77 is reserved for "printer", but container one has it`) {
			t.Errorf("the warning is %v", r.Warnings)
		}
		three.refused(t, "10.77.0.77", "network=lan,ip=10.77.0.77", "name=printer")
		w.done(t, one, two)
	})
	t.Run("had again when the container that had it is dead", func(t *testing.T) {
		w := newWorld(t, strings.Replace(lan4, "driver", `reserve = { printer = "10.77.0.77" }`+"\ndriver", 1))
		one, two := w.plainBox(t, "one"), w.box(t, "two")
		one.attach(t, printer, "name=printer")
		one.ended(t)
		r := two.attach(t, printer, "name=printer")
		if got := address4(t, r.Interfaces[0]); got != "10.77.0.77" || r.Warnings != nil {
			t.Errorf("it has %s, and a warning %v", got, r.Warnings)
		}
		w.done(t, two)
	})
	t.Run("had again when the container that had it is just leaving its pod", func(t *testing.T) {
		w := newWorld(t, strings.Replace(lan4, "driver", `reserve = { printer = "10.77.0.77" }`+"\ndriver", 1))
		one, two := w.box(t, "one"), w.box(t, "two")
		one.attach(t, printer, "name=printer")
		writer, err := process.Find(one.PID)
		if err != nil {
			t.Fatal(err)
		}
		// Its namespace lives, and another process is taking its record back.
		leaving := func(writer process.Process) {
			rec := w.recordsOf(t, "one")[0]
			rec.State, rec.Writer = store.Leaving, store.Process(writer)
			if err := w.setup.Store.Update(t.Context(), func(tx *store.Tx) error { return tx.Put(rec) }); err != nil {
				t.Error(err)
			}
		}
		leaving(writer)
		var done sync.WaitGroup
		done.Go(func() {
			time.Sleep(50 * time.Millisecond)
			leaving(w.setup.Self)
			if err := w.release(t.Context(), "one"); err != nil {
				t.Error(err)
			}
		})
		r := two.attach(t, printer, "name=printer")
		done.Wait()
		if got := address4(t, r.Interfaces[0]); got != "10.77.0.77" || r.Warnings != nil {
			t.Errorf("it has %s, and a warning %v", got, r.Warnings)
		}
		w.done(t, two)
	})
	t.Run("of somebody who had it before", func(t *testing.T) {
		w := newWorld(t, lan4)
		one, two := w.box(t, "one"), w.box(t, "two")
		one.attach(t, "network=lan,ip=10.77.0.77")
		w.usePolicy(t, strings.Replace(lan4, "driver", `reserve = { printer = "10.77.0.77" }`+"\ndriver", 1))
		r := two.attach(t, printer, "name=printer")
		if r.Warnings == nil || address4(t, r.Interfaces[0]) == "10.77.0.77" {
			t.Errorf("it has %+v, and a warning %v", r.Interfaces, r.Warnings)
		}
		w.done(t, one, two)
	})
	t.Run("the host's own", func(t *testing.T) {
		w := newWorld(t, strings.Replace(lan4, "driver", `reserve = { printer = "10.77.0.77" }`+"\ndriver", 1))
		w.Host.Do(t, func() { nettest.AddAddress(t, nettest.Parent, netip.MustParsePrefix("10.77.0.77/24")) })
		w.Host.Remember(t)
		c := w.box(t, "c")
		r := c.attach(t, printer, "name=printer")
		if r.Warnings == nil || !strings.Contains(r.Warnings.Error(), "this host has it") {
			t.Errorf("the warning is %v", r.Warnings)
		}
		w.done(t, c)
	})
	t.Run("somebody else's on the LAN", func(t *testing.T) {
		w := newWorld(t, strings.Replace(lan4, "driver", `reserve = { printer = "10.77.0.77" }`+"\ndriver", 1))
		w.Neighbour.Do(t, func() { nettest.AddAddress(t, nettest.PeerName, netip.MustParsePrefix("10.77.0.77/24")) })
		c := w.box(t, "c")
		r := c.attach(t, printer, "name=printer")
		if r.Warnings == nil || !strings.Contains(r.Warnings.Error(), "somebody else on the LAN has it") {
			t.Errorf("the warning is %v", r.Warnings)
		}
		if got := address4(t, r.Interfaces[0]); got == "10.77.0.77" {
			t.Errorf("it has %s", got)
		}
		w.done(t, c)
	})
	t.Run("where addresses are only static", func(t *testing.T) {
		w := newWorld(t, strings.Replace(lan4, "driver", "ipam = \"static\"\nreserve = { printer = \"10.77.0.77\" }\ndriver", 1))
		one, two := w.box(t, "one"), w.box(t, "two")
		if got := address4(t, one.attach(t, printer, "name=printer").Interfaces[0]); got != "10.77.0.77" {
			t.Errorf("it has %s", got)
		}
		two.refused(t, `10.77.0.77 is reserved for "printer", but container one has it`, printer, "name=printer")
		two.refused(t, "gives only addresses that are asked for", printer, "name=other")
		w.done(t, one)
	})
	t.Run("a name that the rule does not grant", func(t *testing.T) {
		w := newWorld(t, strings.Replace(lan4, "driver", `reserve = { printer = "10.77.0.77" }`+"\ndriver", 1))
		w.setup.Policy.Rules[0].Names = nil
		c := w.box(t, "c")
		r := c.attach(t, printer, "name=printer")
		if r.Warnings == nil || !strings.Contains(r.Warnings.Error(), "does not let this container have that name") {
			t.Errorf("the warning is %v", r.Warnings)
		}
		if got := address4(t, r.Interfaces[0]); got == "10.77.0.77" {
			t.Errorf("it has %s", got)
		}
		p, err := w.setup.Plan(t.Context(), w.box(t, "new").container(t, "network=lan", "name=printer"))
		if err != nil || len(p.Warnings) != 1 {
			t.Errorf("a plan warns of %v (%v)", p.Warnings, err)
		}
		w.done(t, c)
	})
	t.Run("a plan shows it, and others stay where they are", func(t *testing.T) {
		w := newWorld(t, lan4)
		c := w.box(t, "c")
		before := address4(t, c.attach(t, "network=lan", "name=other").Interfaces[0])
		c.detach(t)
		w.usePolicy(t, strings.Replace(lan4, "driver", `reserve = { printer = "10.77.0.2", second = "10.77.0.3" }`+"\ndriver", 1))
		if after := address4(t, c.attach(t, "network=lan", "name=other").Interfaces[0]); after != before {
			t.Errorf("it has %s, and had %s", after, before)
		}
		p, err := w.setup.Plan(t.Context(), w.box(t, "new").container(t, "network=lan", "name=printer"))
		if err != nil || address4(t, p.Interfaces[0]) != "10.77.0.2" {
			t.Errorf("the plan is %+v (%v)", p.Interfaces, err)
		}
		w.done(t, c)
	})
	t.Run("one whose place is kept for others has the next again, though it was not given back", func(t *testing.T) {
		w := newWorld(t, strings.NewReplacer(
			"driver", "mac = \"random\"\n"+`reserve = { a = "10.77.0.8", b = "10.77.0.9", c = "10.77.0.10", d = "10.77.0.11" }`+"\ndriver",
			"gateway", "range = \"10.77.0.8-10.77.0.15\"\ngateway",
		).Replace(lan4))
		for _, name := range []string{"one", "two", "three", "four", "five"} {
			first, second := w.plainBox(t, name+"1"), w.box(t, name+"2")
			before := address4(t, first.attach(t, "network=lan", "name="+name).Interfaces[0])
			first.ended(t)
			if after := address4(t, second.attach(t, "network=lan", "name="+name).Interfaces[0]); after != before {
				t.Errorf("%s has %s, and had %s", name, after, before)
			}
			w.done(t, second)
		}
	})
	t.Run("of two interfaces the first has it", func(t *testing.T) {
		w := newWorld(t, strings.Replace(lan4, "driver", `reserve = { printer = "10.77.0.77" }`+"\ndriver", 1))
		c := w.box(t, "c")
		r := c.attach(t, "network.eth0=lan", "network.eth1=lan", "name=printer")
		if got := address4(t, r.Interfaces[0]); got != "10.77.0.77" || address4(t, r.Interfaces[1]) == got {
			t.Errorf("it has %+v", r.Interfaces)
		}
		const want = `10.77.0.77 is reserved for "printer", but its eth0 has it; eth1 has another address`
		if fmt.Sprint(r.Warnings) != want {
			t.Errorf("the warning is %v, want %s", r.Warnings, want)
		}
		w.done(t, c)
	})
	t.Run("and where they are when the host gets an address", func(t *testing.T) {
		w := newWorld(t, lan4)
		c := w.box(t, "c")
		before := address4(t, c.attach(t, "network=lan", "name=other").Interfaces[0])
		c.detach(t)
		w.Host.Do(t, func() { nettest.AddAddress(t, nettest.Parent, netip.MustParsePrefix("10.77.0.2/24")) })
		w.Host.Remember(t)
		if after := address4(t, c.attach(t, "network=lan", "name=other").Interfaces[0]); after != before {
			t.Errorf("it has %s, and had %s", after, before)
		}
		w.done(t, c)
	})
}

// Two interfaces of a container on one LAN never have one address: nobody could tell them apart, and asked for it, each would
// answer the other.
func TestTwoInterfacesOfALAN(t *testing.T) {
	two := reserving("")
	for _, conflict := range []string{"next", "off"} {
		w := newWorld(t, strings.Replace(two, "driver", fmt.Sprintf("conflict = %q\ndriver", conflict), 1))
		for _, id := range []string{"a", "b", "c", "d"} {
			c := w.box(t, id)
			c.refused(t, "all 2 are in use by "+id, "network.eth0=lan", "network.eth1=lan", "network.eth2=lan")
			r := c.attach(t, "network.eth0=lan", "network.eth1=lan,ip=10.77.0.8")
			if got := address4(t, r.Interfaces[0]); got != "10.77.0.9" {
				t.Errorf("beside one that is asked for it has %s", got)
			}
			w.done(t, c)
		}
	}
}

// What a workload is known by on its LAN follows from host, network and name alone, and not from what lanhook remembers.
func TestStableIdentity(t *testing.T) {
	for _, network := range []string{lan, appsWith("")} {
		w := newWorld(t, network)
		var first string
		for _, boot := range []string{"one", "another", "a third"} {
			st, err := store.Open(t.TempDir()) // a state directory does not outlive a boot
			if err != nil {
				t.Fatal(err)
			}
			w.setup.Store, w.setup.BootID = st, boot
			c := w.box(t, "c-"+boot)
			for name := range w.setup.Policy.Networks {
				i := c.attach(t, "network="+name, "name=web").Interfaces[0]
				got := fmt.Sprint(i.MAC, i.Addresses)
				if first == "" {
					first = got
				}
				if got != first {
					t.Errorf("in boot %q it has %s, and had %s", boot, got, first)
				}
				if i.MAC[0]&3 != 2 {
					t.Errorf("MAC address %s is not a locally administered one of one station", i.MAC)
				}
			}
			c.detach(t)
		}
		host := w.setup.HostID
		w.setup.HostID = "another host"
		c := w.box(t, "c")
		for name := range w.setup.Policy.Networks {
			i := c.attach(t, "network="+name, "name=web").Interfaces[0]
			if got := fmt.Sprint(i.MAC, i.Addresses); got == first {
				t.Errorf("another host gives the same: %s", got)
			}
		}
		w.done(t, c)
		w.setup.HostID = host
	}
}

// [netsetup.Setup.Identity] says beforehand what an attach gives.
func TestIdentity(t *testing.T) {
	for _, c := range []struct{ name, network string }{
		{"macvlan", lan},
		{"bridge", apps},
		{"from the address", strings.Replace(lan4, "driver", "mac = \"from-ip\"\ndriver", 1)},
		{"reserved", strings.Replace(lan, "driver", `reserve = { web = ["10.77.0.77", "fd77::77"], other = "10.77.0.78" }`+"\ndriver", 1)},
		{"one of two families reserved", strings.Replace(lan, "driver", `reserve = { web = "fd77::77" }`+"\ndriver", 1)},
		{"beside reservations of others", reserving(`reserve = { other = "10.77.0.8" }`)},
		{"beside the host", strings.Replace(reserving(""), "driver", "host-access = true\ndriver", 1)},
		{"without IPv6 by a setting", strings.Replace(lan, "driver", "sysctl = [\"net.ipv6.conf.IFNAME.disable_ipv6=1\"]\ndriver", 1)},
		{"static and reserved", strings.Replace(lan4, "driver", "ipam = \"static\"\nreserve = { web = \"10.77.0.77\" }\ndriver", 1)},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, c.network)
			for name, n := range w.setup.Policy.Networks {
				for _, ifName := range []string{"eth0", "lan0"} {
					id, err := w.setup.Identity(t.Context(), n, "web", ifName)
					if err != nil {
						t.Fatal(err)
					}
					b := w.box(t, "c-"+ifName)
					got := b.attach(t, "network."+ifName+"="+name, "name=web").Interfaces[0]
					if want := fmt.Sprint(got.MAC, got.Addresses); said(id) != want {
						t.Errorf("%s: it was to be %s, and is %s", ifName, said(id), want)
					}
					again, err := w.setup.Identity(t.Context(), n, "web", ifName)
					if err != nil || said(again) != said(id) || again.MACHolder != b.id || again.Addresses[0].Holder != b.id {
						t.Errorf("%s: once it is attached: %+v (%v)", ifName, again, err)
					}
					b.detach(t)
				}
			}
			w.empty(t)
		})
	}
	t.Run("what lanhook does not choose", func(t *testing.T) {
		w := newWorld(t, strings.Replace(lan4, "driver", "mac = \"random\"\nipam = \"static\"\ndriver", 1)+`
[network.thru]
driver = "macvlan"
mode   = "passthru"
parent = "p0"
[network.gone]
driver = "macvlan"
parent = "missing0"
`)
		for name, hasMAC := range map[string]bool{"lan": false, "thru": false, "gone": true} {
			id, err := w.setup.Identity(t.Context(), w.setup.Policy.Networks[name], "web", "eth0")
			if err != nil || (id.MAC != nil) != hasMAC || id.Addresses != nil {
				t.Errorf("%s: %+v (%v)", name, id, err)
			}
		}
	})
}

// said is an identity as an attach would tell it.
func said(id netsetup.Identity) string {
	var all []netip.Prefix
	for _, one := range id.Addresses {
		all = append(all, one.Prefix)
	}
	return fmt.Sprint(id.MAC, all)
}
