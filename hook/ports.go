package main

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/netsetup/store"
)

func (a *app) portsCmd() *command {
	return &command{
		use:   "ports [CONTAINER]",
		short: "List published ports, and host addresses that are a container's as a whole",
		long: `List what of the host's goes to containers, of one container or of all: published ports, and host addresses that are
a container's as a whole (protocol «all»). CONTAINER is an id, the beginning of one, a process, the path of a network
namespace, or a name. One that shares the interfaces of others has their ports too, when it is asked for by itself.`,
		args: []string{"CONTAINER"}, optional: true,
		run: func(ctx context.Context, args []string) error {
			word := ""
			if len(args) > 0 {
				word = args[0]
			}
			return a.ports(ctx, word)
		},
	}
}

// portView is one range of published ports, or one whole address, as programs get it.
type portView struct {
	Container string `json:"container"`
	Workload  string `json:"workload"`
	Record    string `json:"record"`
	Interface string `json:"interface"`
	// Network is "" for an attachment that is spelled out.
	Network string `json:"network,omitempty"`
	// Protocol is «all» for a whole address, which has no ports.
	Protocol string `json:"protocol"`
	// Address is the host's, the unspecified one for all of its family.
	Address netip.Addr `json:"address"`
	// Port is the first of Count ports that go to as many of the container, from ToPort on.
	Port      uint16     `json:"port,omitempty"`
	Count     int        `json:"count,omitempty"`
	ToAddress netip.Addr `json:"to_address"`
	ToPort    uint16     `json:"to_port,omitempty"`
}

// wholeAddress is the protocol of an address that is a container's as a whole.
const wholeAddress = "all"

func (a *app) ports(ctx context.Context, word string) error {
	all, err := a.records(ctx)
	if err != nil {
		return err
	}
	records := all
	if word != "" {
		if records, err = a.recordsOf(ctx, word); err != nil {
			return err
		}
		if len(records) == 0 {
			return unknownContainer(word)
		}
		records = withJoined(records, all)
	}
	list := []portView{}
	for _, rec := range records {
		list = append(list, portsOf(rec)...)
	}
	sort.SliceStable(list, func(i, j int) bool { return byHost(list[i], list[j]) < 0 })
	if a.json {
		return a.printJSON(list)
	}
	rows := make([][]string, 0, len(list))
	for _, p := range list {
		rows = append(rows, []string{
			p.Protocol, portRange(p.Address, p.Port, p.Count), short(p.Container), short(p.Workload),
			p.Interface, cmp.Or(p.Network, "-"), portRange(p.ToAddress, p.ToPort, p.Count),
		})
	}
	return a.printTable([]string{"PROTOCOL", "HOST", "CONTAINER", "NAME", "INTERFACE", "NETWORK", "TARGET"}, rows)
}

// byHost sorts by what people look for: the host's port, whole addresses last.
func byHost(p, q portView) int {
	return cmp.Or(
		// A whole address has no port but 0: one less, and it is the highest.
		cmp.Compare(p.Port-1, q.Port-1), cmp.Compare(p.Protocol, q.Protocol), p.Address.Compare(q.Address),
	)
}

// withJoined adds the records whose interfaces a container shares.
func withJoined(records, all []store.Record) []store.Record {
	var joined []store.Ref
	for _, rec := range records {
		joined = append(joined, rec.Joined...)
	}
	return append(records, where(all, func(r store.Record) bool {
		return slices.Contains(joined, r.Ref()) &&
			!slices.ContainsFunc(records, func(own store.Record) bool { return own.Ref() == r.Ref() })
	})...)
}

// portsOf is what of the host's goes to one record's interfaces.
func portsOf(rec store.Record) []portView {
	var list []portView
	for _, i := range rec.Interfaces {
		v := portView{
			Container: rec.Container, Workload: rec.Workload, Record: rec.ID, Interface: i.Name, Network: i.Network,
		}
		for _, p := range i.Publish {
			v.Protocol, v.Address, v.Port, v.Count = p.Protocol.String(), p.Addr, p.Host, p.Count
			v.ToAddress, v.ToPort = p.To.Addr(), p.To.Port()
			list = append(list, v)
		}
		for _, t := range i.DNAT {
			v.Protocol, v.Address, v.Port, v.Count = wholeAddress, t.From, 0, 0
			v.ToAddress, v.ToPort = t.To, 0
			list = append(list, v)
		}
	}
	return list
}

// portRange is an address with ports, or without them when there are none.
func portRange(addr netip.Addr, port uint16, n int) string {
	switch n {
	case 0:
		return addr.String()
	case 1:
		return netip.AddrPortFrom(addr, port).String()
	}
	return netip.AddrPortFrom(addr, port).String() + "-" + strconv.Itoa(int(port)+n-1)
}

// published are the ports of an interface as «lanhook ls» has them, in the form that Docker's lists have.
func published(i plan.Interface) string {
	var words []string
	for _, p := range i.Publish {
		to := strconv.Itoa(int(p.To.Port()))
		if p.Count > 1 {
			to += "-" + strconv.Itoa(int(p.To.Port())+p.Count-1)
		}
		words = append(words, portRange(p.Addr, p.Host, p.Count)+"->"+to+"/"+p.Protocol.String())
	}
	for _, t := range i.DNAT {
		words = append(words, t.From.String()+"->"+wholeAddress)
	}
	return cmp.Or(strings.Join(words, ", "), "-")
}
