package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lanhook/lanhook/netsetup"
	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/policy"
	"github.com/lanhook/lanhook/policy/request"
)

func (a *app) whyCmd() *command {
	return &command{
		use:   "why ADDRESS|MAC|PORT",
		short: "Say who has an address, a MAC address or a port, and how that is known",
		long: `Say who has an IP address, a MAC address, or a port of the host ([ADDRESS:]PORT[/tcp|udp|sctp]): the container that a
record gives it to, with the proof that it lives or has ended, links and processes of the host, the policy that keeps it
back, and neighbours: those who answer for the address on its LAN, which is asked, and those of whom the host has heard.
Exit code 1 when nobody has it. Nothing is changed.`,
		args: []string{"ADDRESS|MAC|PORT"},
		run: func(ctx context.Context, args []string) error {
			q, err := questionOf(args[0])
			if err != nil {
				return err
			}
			return a.why(ctx, args[0], q)
		},
	}
}

// questionOf reads what is asked for. An address may have the length of its prefix, as lists show it.
func questionOf(word string) (netsetup.Question, error) {
	if mac, err := net.ParseMAC(word); err == nil && len(mac) == 6 {
		return netsetup.Question{MAC: plan.MAC(mac)}, nil
	}
	addr, err := netip.ParseAddr(word)
	if p, prefixErr := netip.ParsePrefix(word); prefixErr == nil {
		addr, err = p.Addr(), nil
	}
	if err == nil && addr.Zone() == "" {
		return netsetup.Question{Addr: addr.Unmap()}, nil
	}
	if q, ok := portOf(word); ok {
		return q, nil
	}
	return netsetup.Question{}, &usageError{
		msg:  fmt.Sprintf("%q is no address, MAC address or port", word),
		hint: "write 192.0.2.9, 2001:db8::9, 02:42:c0:00:02:09, 8080, 53/udp, 192.0.2.9:8080 or [2001:db8::9]:8080/tcp",
	}
}

// portOf reads [ADDRESS:]PORT[/PROTOCOL].
func portOf(word string) (netsetup.Question, bool) {
	q := netsetup.Question{Protocols: []request.Protocol{request.TCP, request.UDP, request.SCTP}}
	port, protocol, named := strings.Cut(word, "/")
	if named {
		q.Protocols = slices.DeleteFunc(q.Protocols, func(p request.Protocol) bool { return p.String() != protocol })
	}
	if at := strings.LastIndexByte(port, ':'); at >= 0 {
		ap, err := netip.ParseAddrPort(port)
		if port[:at] != "" && (err != nil || ap.Addr().Zone() != "") {
			return q, false
		}
		q.Addr, port = ap.Addr().Unmap(), port[at+1:]
	}
	n, err := strconv.ParseUint(port, 10, 16)
	q.Port = uint16(n)
	return q, err == nil && n != 0 && len(q.Protocols) > 0
}

// whyView is an answer for programs.
type whyView struct {
	Asked string `json:"asked"`
	// Owned is false when nobody has it, but for networks that may hand it out.
	Owned  bool             `json:"owned"`
	Owners []netsetup.Owner `json:"owners"`
	// Unasked is why some LAN was not asked, on which there may be another one.
	Unasked string `json:"unasked,omitempty"`
}

func (a *app) why(ctx context.Context, word string, q netsetup.Question) error {
	s, err := a.open(withoutPolicy)
	if err != nil {
		return err
	}
	defer s.Host.Close()
	// Without a policy the rest is known all the same.
	var unread error
	if s.Policy, unread = policy.Load(a.policy); unread != nil {
		fmt.Fprintf(a.stderr, "lanhook: why: what the policy keeps back is not known: %s\n", oneLine(unread))
	}
	answer, err := s.Why(ctx, q)
	if err != nil {
		return err
	}
	v := whyView{Asked: word, Owners: answer.Owners}
	if answer.Unasked != nil {
		v.Unasked = oneLine(answer.Unasked)
		fmt.Fprintf(a.stderr, "lanhook: why: not every LAN was asked: %s\n", v.Unasked)
	}
	if v.Owners == nil {
		v.Owners = []netsetup.Owner{}
	}
	v.Owned = slices.ContainsFunc(v.Owners, func(o netsetup.Owner) bool { return !o.Free })
	if a.json {
		err = a.printJSON(v)
	} else {
		err = a.printOwners(v)
	}
	if err == nil && !v.Owned {
		return &quietError{exitFailed}
	}
	return err
}

// printOwners writes each owner on a line of its own, with the evidence below it.
func (a *app) printOwners(v whyView) error {
	var errs []error
	line := func(label, text string) {
		_, err := fmt.Fprintf(a.stdout, "%-*s%s\n", labelWidth, label, text)
		errs = append(errs, err)
	}
	if !v.Owned {
		line("nobody", "has "+v.Asked)
	}
	for _, o := range v.Owners {
		line(string(o.Kind), ownerText(o))
		if o.Lives == nil {
			continue
		}
		label := "lives"
		if !*o.Lives {
			label = "over"
		}
		for _, e := range o.Evidence {
			line(label, e)
			label = ""
		}
	}
	return errors.Join(errs...)
}

// ownerText is an owner on one line.
func ownerText(o netsetup.Owner) string {
	if o.Kind != netsetup.OwnerContainer {
		return o.What
	}
	who := short(o.Container)
	if o.Workload != "" && o.Workload != o.Container {
		who = o.Workload + " (" + who + ")"
	}
	return fmt.Sprintf("%s: %s, %s since %s", who, o.What, o.State, o.Since.Format(time.RFC3339))
}
