//go:build linux

package firewall

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/policy/request"
)

// model is what the tables hold of some records, sorted and each place once.
type model struct {
	// elements are there.
	elements []element
	// chains are those of single records, in the table bridge.
	chains []chain
}

// maxComment is what nft(8) shows of a comment (NFTNL_UDATA_COMMENT_MAXLEN), with its zero byte.
const maxComment = 128

// maxPorts is how many ports one record may publish: all that there are. The policy allows fewer.
const maxPorts = 1 << 16

// compiler collects elements by place. Of two that are at the same place the later one wins.
type compiler struct {
	record string
	// ports is how many the record publishes.
	ports    int
	at       map[place]element
	bridges  map[string]plan.Rules
	chains   map[string]chain
	problems []error
}

// compile says what the tables hold when they hold what these records need. It refuses what a record cannot hold unless
// somebody has tampered with it.
func compile(all []plan.AddRules) (model, error) {
	c := &compiler{at: map[place]element{}, bridges: map[string]plan.Rules{}, chains: map[string]chain{}}
	for _, a := range all {
		c.record, c.ports = a.Record, 0
		if a.Record == "" || len(a.Record) >= maxComment || strings.ContainsRune(a.Record, 0) {
			c.fail("a record's id of %d bytes cannot be a comment", len(a.Record))
		}
		for _, r := range a.Of {
			c.rules(r)
		}
	}
	if len(c.problems) > 0 {
		return model{}, errors.Join(c.problems...)
	}
	m := model{elements: slices.Collect(maps.Values(c.at))}
	for name, r := range c.bridges {
		m.elements = append(m.elements, bridgeState(name, r)...)
	}
	grouped(m.elements)
	for _, name := range slices.Sorted(maps.Keys(c.chains)) {
		m.chains = append(m.chains, c.chains[name])
	}
	return m, nil
}

func (c *compiler) fail(format string, args ...any) {
	c.problems = append(c.problems, fmt.Errorf("rules of record %q: "+format, append([]any{c.record}, args...)...))
}

func (c *compiler) rules(r plan.Rules) {
	if !c.name(r.Bridge) || !c.name(r.Port) {
		return
	}
	if r.Gate > plan.Closed {
		c.fail("there is no gate %d", r.Gate)
		return
	}
	if r.Gate != plan.Open {
		c.bridges[r.Bridge] = r
	}
	for _, a := range r.Addresses {
		c.put("home", a, concat(address(a.Unmap()), ifname(r.Bridge)), "")
	}
	for _, a := range r.Masquerade {
		c.put("masquerade", a, concat(address(a.Unmap())), "")
	}
	for _, a := range r.Detour {
		c.put("detour", a, concat(address(a.Unmap())), "")
	}
	for _, a := range r.Unbound {
		c.put("unbound", a, concat(address(a.Unmap())), "")
	}
	for _, t := range r.SNAT {
		c.translate("snat", t)
	}
	for _, t := range r.DNAT {
		c.translate("whole", t)
	}
	for _, p := range r.Publish {
		c.publish(p, r.Gate)
	}
	c.port(r)
}

// put adds an element to the set of an address's family.
func (c *compiler) put(set string, a netip.Addr, key, value string) {
	switch {
	case !a.IsValid() || a.Zone() != "":
		c.fail("%q is no address", a)
	case a.Unmap().Is4():
		c.add(element{family: nftables.TableFamilyINet, set: set + "4", key: key, value: value})
	default:
		c.add(element{family: nftables.TableFamilyINet, set: set + "6", key: key, value: value})
	}
}

// add adds an element of the record.
func (c *compiler) add(e element) {
	e.record = c.record
	c.at[e.place()] = e
}

func (c *compiler) translate(set string, t plan.Translation) {
	from, to := t.From.Unmap(), t.To.Unmap()
	if from.BitLen() != to.BitLen() {
		c.fail("%s cannot become %s", t.From, t.To)
		return
	}
	c.put(set, from, concat(address(from)), concat(address(to)))
}

// publish adds an element for each port. What is published in a routed network can be reached at the container's own
// address, too.
func (c *compiler) publish(p plan.Publish, gate plan.Gate) {
	proto, ok := protocolNumber(p.Protocol)
	host, to := p.Addr.Unmap(), p.To.Addr().Unmap()
	last := p.Count - 1
	switch {
	case !ok:
		c.fail("there is no protocol %d", p.Protocol)
	case !host.IsValid() || host.BitLen() != to.BitLen() || to.Zone() != "":
		c.fail("ports of %s cannot go to %s", p.Addr, p.To.Addr())
	case p.Count < 1 || p.Count > math.MaxUint16 || p.Host == 0 || p.To.Port() == 0 ||
		int(p.Host)+last > math.MaxUint16 || int(p.To.Port())+last > math.MaxUint16:
		c.fail("ports %d and %d cannot be the first of %d", p.Host, p.To.Port(), p.Count)
	case c.ports+p.Count > maxPorts:
		c.fail("it publishes more than %d ports", maxPorts)
	default:
		c.ports += p.Count
		for i := range uint16(p.Count) {
			hostPort, toPort := port(p.Host+i), port(p.To.Port()+i)
			value := concat(address(to), toPort)
			if host.IsUnspecified() {
				c.put("any", host, concat(proto, hostPort), value)
			} else {
				c.put("publish", host, concat(address(host), proto, hostPort), value)
			}
			if gate == plan.Routed {
				c.put("routed", to, concat(address(to), proto, toPort), "")
			}
		}
	}
}

// name is false for what is no name of a link, see dev_valid_name in net/core/dev.c.
func (c *compiler) name(name string) bool {
	if name == "" || len(name) >= nameSize || name == "." || name == ".." || strings.ContainsAny(name, "\x00/: \t\n\v\f\r") {
		c.fail("%q is no name of a link", name)
		return false
	}
	return true
}

func protocolNumber(p request.Protocol) (field []byte, ok bool) {
	switch p {
	case request.TCP:
		return []byte{unix.IPPROTO_TCP}, true
	case request.UDP:
		return []byte{unix.IPPROTO_UDP}, true
	case request.SCTP:
		return []byte{unix.IPPROTO_SCTP}, true
	}
	return nil, false
}

// bridgeState is what is said of a bridge of lanhook's as a whole.
func bridgeState(name string, r plan.Rules) []element {
	key := concat(ifname(name))
	in := func(set, key string) element {
		return element{family: nftables.TableFamilyINet, set: set, key: key}
	}
	to, settings := in(setTo, key), in(setSettings, key)
	to.chain = gateChain(r.Gate)
	words := []string{r.Gate.String()}
	list := []element{in(setBridges, key), to}
	if r.Gate == plan.Closed {
		from := in(setFrom, key)
		from.chain = chainClosed
		list = append(list, from)
	}
	if r.ICC {
		list = append(list, in(setSame, concat(ifname(name), ifname(name))))
		words = append(words, "icc")
	}
	if !r.Isolate && r.Gate != plan.Closed {
		list = append(list, in(setOpen, key))
		words = append(words, "open")
	}
	// Where the policy has changed, an element may be there that should not be. To delete it to be on the safe side would make
	// every attach wait, at the end of its socket, until the kernel has waited for all its processors (nft_rcv_nl_event in
	// net/netfilter/nf_tables_api.c). A value that is another one is EEXIST, and has the tables renewed.
	settings.value = concat(ifname(strings.Join(words, " ")))
	return append(list, settings)
}

// gateChain is the chain for what goes to a bridge.
func gateChain(g plan.Gate) string {
	switch g {
	case plan.NAT:
		return chainNAT
	case plan.Routed:
		return chainRouted
	case plan.Open, plan.Closed:
	}
	return chainClosed
}
