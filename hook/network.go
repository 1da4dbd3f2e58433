package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/lanhook/lanhook/netsetup"
	"github.com/lanhook/lanhook/netsetup/ipam"
	"github.com/lanhook/lanhook/netsetup/store"
	"github.com/lanhook/lanhook/policy"
	"github.com/lanhook/lanhook/policy/request"
)

func (a *app) networkCmd() *command {
	ls := &command{
		use:   "ls",
		short: "List the policy's networks",
		run: func(ctx context.Context, _ []string) error {
			return a.networkLs(ctx)
		},
	}
	inspect := &command{
		use:   "inspect NAME",
		short: "Show one network: its subnets, how many addresses are in use and by whom, the host's own",
		args:  []string{"NAME"},
		run: func(ctx context.Context, args []string) error {
			return a.networkInspect(ctx, args[0])
		},
	}
	return group("network", "Show the policy's networks", ls, inspect)
}

// networkView is one network as programs get it.
type networkView struct {
	Name    string `json:"name"`
	Driver  string `json:"driver"`
	Mode    string `json:"mode,omitempty"`
	Flag    string `json:"flag,omitempty"`
	Uplink  string `json:"uplink"`
	Present bool   `json:"present"`
	// VLAN is that of a container's port on a bridge, without a tag; 0 for none. Trunk are those with one.
	VLAN    int          `json:"vlan,omitempty"`
	Trunk   []string     `json:"trunk,omitempty"`
	IPAM    string       `json:"ipam"`
	Subnets []subnetView `json:"subnets"`
	// Host is the host's own link beside the containers, nil without host-access.
	Host *hostLinkView `json:"host,omitempty"`
	// Reserved are the addresses that networks on its layer 2 keep for workloads.
	Reserved []reservedView `json:"reserved,omitempty"`
	// Users are the leases of the network's layer 2, of other networks on the same parent too.
	Users []userView `json:"users"`
}

// mode is mode and flag as people read them.
func (v networkView) mode() string { return strings.TrimSpace(v.Mode + " " + v.Flag) }

// port is the VLANs of a container's port on a bridge, as people read them.
func (v networkView) port() string {
	var words []string
	if v.VLAN != 0 {
		words = append(words, "vlan", strconv.Itoa(v.VLAN))
	}
	if len(v.Trunk) > 0 {
		words = append(words, "trunk", strings.Join(v.Trunk, ","))
	}
	return strings.Join(words, " ")
}

// hostLinkView is the host's own link beside a network's containers: the addresses that it has, or that the policy gives it.
type hostLinkView struct {
	Link      string       `json:"link"`
	Addresses []netip.Addr `json:"addresses"`
	Present   bool         `json:"present"`
}

// hostIn is the host's own address in a subnet as people read it.
func (v networkView) hostIn(subnet netip.Prefix) string {
	switch {
	case v.Host == nil:
		return "-"
	case len(v.Host.Addresses) == 0:
		return "later" // the first container picks it
	}
	in := slices.DeleteFunc(slices.Clone(v.Host.Addresses), func(a netip.Addr) bool { return !subnet.Contains(a) })
	return cmp.Or(join(in), "-")
}

type subnetView struct {
	Subnet  netip.Prefix `json:"subnet"`
	Gateway string       `json:"gateway,omitempty"`
	ipam.Usage
}

type reservedView struct {
	Address netip.Addr `json:"address"`
	Name    string     `json:"name"`
}

type userView struct {
	Address   netip.Addr `json:"address"`
	Container string     `json:"container"`
	Interface string     `json:"interface"`
}

func (a *app) networkLs(ctx context.Context) error {
	s, err := a.open(withPolicy)
	if err != nil {
		return err
	}
	defer s.Host.Close()
	list := []networkView{}
	for _, name := range slices.Sorted(maps.Keys(s.Policy.Networks)) {
		v, err := viewNetwork(ctx, s, s.Policy.Networks[name])
		if err != nil {
			return err
		}
		v.Users = []userView{} // who they are is told by inspect
		list = append(list, v)
	}
	if a.json {
		return a.printJSON(list)
	}
	var rows [][]string
	for _, v := range list {
		uplink := strings.TrimSpace(v.Uplink + " " + v.port())
		if !v.Present && v.Driver != policy.Bridge.String() {
			uplink += " (missing)"
		}
		row := []string{v.Name, v.Driver, cmp.Or(v.mode(), "-"), uplink}
		if len(v.Subnets) == 0 {
			rows = append(rows, append(row, "-", "-", "-", "-"))
		}
		for _, sub := range v.Subnets {
			rows = append(rows, append(slices.Clone(row), sub.Subnet.String(), sub.InUse.String(), sub.Free.String(), v.hostIn(sub.Subnet)))
		}
	}
	return a.printTable([]string{"NETWORK", "DRIVER", "MODE", "UPLINK", "SUBNET", "IN USE", "FREE", "HOST-ACCESS"}, rows)
}

func (a *app) networkInspect(ctx context.Context, name string) error {
	s, err := a.open(withPolicy)
	if err != nil {
		return err
	}
	defer s.Host.Close()
	n, err := networkOf(s, name)
	if err != nil {
		return err
	}
	v, err := viewNetwork(ctx, s, n)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(v)
	}
	p := func(label, format string, args ...any) {
		fmt.Fprintf(a.stdout, "%-10s%s\n", label, fmt.Sprintf(format, args...))
	}
	p("network", "%s", v.Name)
	p("driver", "%s", strings.TrimSpace(v.Driver+" "+v.mode()))
	p("uplink", "%s (present: %t)", v.Uplink, v.Present)
	if port := v.port(); port != "" {
		p("port", "%s", port)
	}
	p("ipam", "%s", v.IPAM)
	for _, sub := range v.Subnets {
		p("subnet", "%s gateway %s: %s of %s in use or kept back, %s of %s free to be picked", sub.Subnet,
			cmp.Or(sub.Gateway, "none"), sub.InUse, sub.All, sub.Free, sub.Dynamic)
	}
	if h := v.Host; h != nil {
		p("host", "%s at %s (present: %t)", h.Link, cmp.Or(strings.ReplaceAll(join(h.Addresses), ",", " "), "an address that the first container picks"), h.Present)
	}
	for _, r := range v.Reserved {
		p("reserved", "%s for %s", r.Address, r.Name)
	}
	for _, u := range v.Users {
		p("in use", "%s by %s of %s", u.Address, u.Interface, short(u.Container))
	}
	return nil
}

// networkOf is a network of the policy.
func networkOf(s *netsetup.Setup, name string) (*policy.Network, error) {
	n, ok := s.Policy.Networks[name]
	if !ok {
		hint := "see lanhook network ls"
		if near, ok := request.Nearest(name, slices.Collect(maps.Keys(s.Policy.Networks))); ok {
			hint = fmt.Sprintf("did you mean %s?", near)
		}
		return nil, &usageError{msg: fmt.Sprintf("the policy has no network %q", name), hint: hint}
	}
	return n, nil
}

// viewNetwork asks the kernel for the uplink and the store for the leases.
func viewNetwork(ctx context.Context, s *netsetup.Setup, n *policy.Network) (networkView, error) {
	uplink, err := s.Uplink(ctx, n)
	if err != nil {
		return networkView{}, err
	}
	v := networkView{
		Name: n.Name, Driver: n.Driver.String(), Mode: n.Mode.String(), Flag: n.Flag.String(), Uplink: uplink.Name,
		Present: uplink.Present, IPAM: n.IPAM.String(), Subnets: []subnetView{}, VLAN: n.Access,
	}
	for _, r := range n.Trunk {
		v.Trunk = append(v.Trunk, r.String())
	}
	host, err := s.HostLink(ctx, n, uplink.Wire)
	if err != nil {
		return networkView{}, err
	}
	if n.HostAccess {
		v.Host = &hostLinkView{host.Name, append([]netip.Addr{}, host.Addresses...), host.Present}
	}
	var held []netip.Addr
	err = s.Store.View(ctx, func(tx *store.Tx) error {
		held, v.Users = append(held[:0], host.Taken...), []userView{}
		for lease, err := range tx.Leases(n.Scope(uplink.Wire)) {
			if err != nil {
				return err
			}
			if lease.Addr.IsValid() {
				held = append(held, lease.Addr)
				v.Users = append(v.Users, userView{lease.Addr, lease.Container, lease.IfName})
			}
		}
		return nil
	})
	for addr, name := range s.Policy.Reservations(n, uplink.Wire, nil) {
		held = append(held, addr) // nobody else gets it, whether it is in use or not
		v.Reserved = append(v.Reserved, reservedView{addr, name})
	}
	sort.Slice(v.Reserved, func(i, j int) bool { return v.Reserved[i].Address.Less(v.Reserved[j].Address) })
	for _, sub := range n.Subnets {
		view := subnetView{Subnet: sub.Prefix, Usage: sub.Pool().Usage(held)}
		if sub.Gateway.IsValid() {
			view.Gateway = sub.Gateway.String()
		}
		v.Subnets = append(v.Subnets, view)
	}
	return v, err
}
