package plan

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/lanhook/lanhook/policy"
	"github.com/lanhook/lanhook/policy/request"
)

// AwaitAddresses waits until links have an IPv6 address of a router's, each as long as it says, all at the same time. Nothing
// fails when none comes.
type AwaitAddresses struct{ Links []Await }

// Await is one link of the container that waits.
type Await struct {
	If   string
	Wait time.Duration
}

func (s AwaitAddresses) String() string {
	texts := make([]string, len(s.Links))
	for i, a := range s.Links {
		texts[i] = fmt.Sprintf("on %s for %s", a.If, a.Wait)
	}
	return "container: await an address from a router " + strings.Join(texts, ", ")
}

func (s AwaitAddresses) fields(c *Codec) Step {
	List(c, &s.Links, func(c *Codec, a *Await) {
		c.Text(&a.If)
		n := int(a.Wait)
		c.Int(&n)
		a.Wait = time.Duration(n)
	})
	return s
}

// awaits is the step for all links that have routers' addresses.
func awaits(links []link) Steps {
	var s AwaitAddresses
	for _, l := range links {
		if wait := l.slaacWait(); l.IPv6 == policy.IPv6SLAAC && wait > 0 {
			s.Links = append(s.Links, Await{If: l.IfName, Wait: wait})
		}
	}
	if len(s.Links) == 0 {
		return nil
	}
	return Steps{s}
}

// slaacWait is the network's, which has one whatever its own mode is.
func (l link) slaacWait() time.Duration { return l.Network.SLAACWait }

// withRouters marks the links whose routers may give the container its default route: those that ask for it, or else one
// where no other link and nobody else gives one.
func withRouters(in Input, all []link, o owners) []link {
	taken := in.Facts.HasDefault.V6 || len(o.v6) > 0
	for i := range all {
		l := &all[i]
		switch {
		case l.IPv6 != policy.IPv6SLAAC || !l.Network.DefaultRoute:
		case l.DefaultRoute.Set:
			l.routers = l.DefaultRoute.Want
		default:
			l.routers = !taken
		}
		taken = taken || l.routers
	}
	return all
}

// sysctls6 are the settings of IPv6 (Documentation/networking/ip-sysctl.rst, conf/interface/*).
func (l link) sysctls6() []request.Sysctl {
	var values []request.Sysctl
	set := func(key, value string) {
		values = append(values, request.Sysctl{Key: "net.ipv6.conf.IFNAME." + key, Value: value})
	}
	v4, v6 := l.has(netip.Addr.Is4), l.has(netip.Addr.Is6)
	switch {
	case l.noIPv6 || l.mtu < minIPv6MTU: // then the kernel has no IPv6 settings for the link
		return nil
	case l.IPv6 == policy.IPv6SLAAC:
		return l.slaacSysctls()
	case v4 && !v6 || l.IPv6 == policy.IPv6Off:
		set("disable_ipv6", "1")
		return values
	case v6:
		set("disable_ipv6", "0")
		set("keep_addr_on_down", "1")
		if l.Network.Announce {
			values = append(values, request.Sysctl{Key: ndiscNotify, Value: "1"})
		}
	}
	set("accept_ra", "0")
	set("autoconf", "0")
	switch _, chosen := l.linkLocal(); {
	case chosen:
		set("addr_gen_mode", "1") // none but the one that it is given
	case l.Network.SpoofCheck:
		// The link-local address is made from the MAC address: the guard lets no other one pass.
		set("addr_gen_mode", "0")
	}
	return values
}

// slaacSysctls let routers give addresses. The address is made of the MAC address alone, which is the same each time the workload
// starts: no temporary one comes and goes beside it (RFC 8981), by which a service could not be found. accept_ra is 2, since 1
// does not hold in a container that forwards. The first solicitation need not be put off: routers put off their answers.
func (l link) slaacSysctls() []request.Sysctl {
	defaults := "0"
	if l.routers {
		defaults = "1"
	}
	values := []request.Sysctl{}
	for _, s := range [][2]string{
		{"disable_ipv6", "0"},
		{"addr_gen_mode", "0"},
		{"use_tempaddr", "0"},
		{"router_solicitation_delay", "0"},
		{"accept_ra_defrtr", defaults},
		{"accept_ra_pinfo", "1"},
		{"autoconf", "1"},
		{"accept_ra", "2"},
	} {
		values = append(values, request.Sysctl{Key: "net.ipv6.conf.IFNAME." + s[0], Value: s[1]})
	}
	if l.Network.Announce {
		values = append(values, request.Sysctl{Key: ndiscNotify, Value: "1"})
	}
	return values
}

// checkSLAAC refuses routers' addresses where the kernel would take none.
func checkSLAAC(in Input, l link, fail failFunc) error {
	switch {
	case l.IPv6 != policy.IPv6SLAAC:
	case in.Facts.NoIPv6:
		return fail("boot without ipv6.disable=1, or use a network without slaac",
			"the network takes IPv6 addresses from routers, but IPv6 is disabled in this kernel")
	case l.mtu != 0 && l.mtu < minIPv6MTU:
		return fail("raise the MTU, or use a network without slaac",
			"an MTU of %d is below the %d that IPv6 needs", l.mtu, minIPv6MTU)
	}
	return nil
}
