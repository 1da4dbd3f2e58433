package main

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/spf13/pflag"

	"github.com/lanhook/lanhook/policy"
	"github.com/lanhook/lanhook/policy/request"
)

func (a *app) macCmd() *command {
	ifName := ""
	return &command{
		use:   "mac NETWORK NAME",
		short: "Show the MAC and IP addresses that a workload gets, for DHCP servers and switches",
		long: `Show the MAC address and the IP addresses that the workload NAME gets on a network of the policy each time it starts
on this host, as long as they are free. NAME is io.lanhook.name, or what the engine leaves in its annotations.`,
		args: []string{"NETWORK", "NAME"},
		flags: func(fs *pflag.FlagSet) {
			fs.StringVar(&ifName, "if", "eth0", "for the interface `IFNAME`; Docker's first is lan0")
		},
		run: func(ctx context.Context, args []string) error {
			return a.mac(ctx, args[0], args[1], ifName)
		},
	}
}

// macView is what a workload is known by, as programs get it.
type macView struct {
	Network   string `json:"network"`
	Name      string `json:"name"`
	Interface string `json:"interface"`
	// MAC is left out where the link has its parent's or device's own, and where it is another one each time.
	MAC string `json:"mac,omitempty"`
	// MACFrom is a word of the network's key mac, "keep" for the parent's or device's own.
	MACFrom string `json:"mac_from"`
	// MACContainer and Container are who has it now.
	MACContainer string        `json:"mac_container,omitempty"`
	Addresses    []addressView `json:"addresses"`
}

type addressView struct {
	Address   netip.Prefix `json:"address"`
	Reserved  bool         `json:"reserved"`
	Container string       `json:"container,omitempty"`
}

func (a *app) mac(ctx context.Context, network, name, ifName string) error {
	if err := request.CheckIfName(ifName); err != nil {
		return &usageError{msg: fmt.Sprintf("--if: %s", err)}
	}
	if err := policy.CheckWorkload(name); err != nil {
		return &usageError{msg: err.Error(), hint: "see lanhook ls for the names of those that are attached"}
	}
	s, err := a.open(withPolicy)
	if err != nil {
		return err
	}
	defer s.Host.Close()
	n, err := networkOf(s, network)
	if err != nil {
		return err
	}
	id, err := s.Identity(ctx, n, name, ifName)
	if err != nil {
		return err
	}
	v := macView{
		Network: n.Name, Name: name, Interface: ifName, MAC: id.MAC.String(), MACFrom: id.MACFrom.String(),
		MACContainer: id.MACHolder, Addresses: []addressView{},
	}
	if id.MACFrom == 0 {
		v.MACFrom = policy.MACKeep.String()
	}
	for _, one := range id.Addresses {
		v.Addresses = append(v.Addresses, addressView{one.Prefix, one.Reserved, one.Holder})
	}
	if a.json {
		return a.printJSON(v)
	}
	a.printMAC(v)
	return nil
}

// printMAC writes it for people.
func (a *app) printMAC(v macView) {
	has := func(container string) string {
		if container == "" {
			return ""
		}
		return ", " + short(container) + " has it now"
	}
	mac := v.MAC
	switch {
	case mac != "":
		mac += has(v.MACContainer)
	case v.MACFrom == policy.MACKeep.String():
		mac = "that of the link that it hangs on"
	case v.MACFrom == policy.MACRandom.String():
		mac = "another one each time"
	default:
		mac = "02:42 and the IPv4 address that it asks for"
	}
	fmt.Fprintf(a.stdout, "%-10s%s\n", "mac", mac)
	for _, one := range v.Addresses {
		kind := "while it is free"
		if one.Reserved {
			kind = "reserved"
		}
		fmt.Fprintf(a.stdout, "%-10s%s %s%s\n", "address", one.Address, kind, has(one.Container))
	}
}
