package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/lanhook/lanhook/netsetup/store"
)

func (a *app) repairCmd() *command {
	return &command{
		use:   "repair",
		short: "Put right what somebody has changed on the host, and make anew links that ended with their parent",
		long: `Put right, from the records, what containers share on the host and what somebody else has changed: the rules of the
firewall, all of them in one transaction, lanhook's bridges, their addresses, uplinks and VLANs, its VLAN sub-interfaces,
the host's links beside containers, forwarding, and ports that are kept from the host's own connections. Links of
containers that ended with their parent are made anew once there is a link of its name, or the one that their network
selects in another way. Run it after «nft flush ruleset», a restart of nftables.service, or when a parent was made anew. The addresses of running containers are announced to
their LANs again, for neighbours and switches that have forgotten or mistaken them. Nothing else inside of containers is
touched, and nobody else's rules are.`,
		run: func(ctx context.Context, _ []string) error { return a.repair(ctx) },
	}
}

func (a *app) repair(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, commandTimeout, lateError(commandTimeout))
	defer cancel()
	s, err := a.open(withoutPolicy)
	if err != nil {
		return err
	}
	defer s.Host.Close()
	records, err := a.records(ctx)
	if err != nil {
		return err
	}
	repaired, err := s.Repair(ctx)
	for _, list := range [][]string{repaired.Rules, repaired.Links, repaired.Settings} {
		for i := range list {
			list[i] = byContainer(list[i], records)
		}
	}
	if a.json {
		return errors.Join(err, a.printJSON(repaired))
	}
	all := slices.Concat(repaired.Rules, repaired.Links, repaired.Settings)
	for _, what := range all {
		fmt.Fprintln(a.stdout, what)
	}
	switch {
	case len(all) > 0:
		fmt.Fprintln(a.stdout, count(len(all), "difference")+" put right")
	case err == nil:
		fmt.Fprintln(a.stdout, "nothing to repair")
	}
	if repaired.Announced > 0 {
		fmt.Fprintf(a.stdout, "addresses of %s announced\n", count(repaired.Announced, "container"))
	}
	return err
}

// byContainer has words name containers where they name records, which are what rules bear.
func byContainer(words string, records []store.Record) string {
	for _, rec := range records {
		words = strings.ReplaceAll(words, "record "+rec.ID, "container "+short(rec.Container))
	}
	return words
}
