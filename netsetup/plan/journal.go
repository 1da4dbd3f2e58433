package plan

import (
	"fmt"
	"math"
	"net/netip"
	"reflect"

	"github.com/lanhook/lanhook/policy"
	"github.com/lanhook/lanhook/policy/request"
)

// Steps are the steps of a plan in order. In a record they are a list, each step being the number of its kind and its
// fields, see [Codec].
type Steps []Step

// kinds has an empty step of each kind. Its place is the number of the kind, which is part of the record's format: a new
// kind goes to the end. No kind has the number 0.
func kinds() []Step {
	return []Step{
		nil,
		EnsureBridge{},
		AddVeth{},
		AddMacvlan{},
		SetSysctls{},
		AddAddress{},
		SetLink{},
		AddRoute{},
		DelLink{},
		DelRoute{},
		ReleaseBridge{},
		EnsureForwarding{},
		AddRules{},
		ReservePorts{},
		SetRate{},
		AddGuard{},
		DelRules{},
		ReleaseRules{},
		ReleasePorts{},
		DelGuard{},
		AddIPVLAN{},
		EnsureVLAN{},
		AddVLAN{},
		MoveLink{},
		EnsureUplink{},
		AddRouteRule{},
		ReleaseVLAN{},
		ReturnLink{},
		ReleaseUplink{},
		DelRouteRule{},
		ProbeLinks{},
		AnnounceLinks{},
		EnsureHostLink{},
		AddHostRoute{},
		ReleaseHostLink{},
		DelHostRoute{},
		AwaitAddresses{},
		AddHostAddresses{},
	}
}

// MarshalBinary writes the steps as a record has them. The error is that one of them is none, or has a value that no
// journal can have.
func (s Steps) MarshalBinary() ([]byte, error) {
	data, err := Encode(func(c *Codec) { c.Steps(&s) })
	if err != nil {
		return nil, fmt.Errorf("write steps: %w", err)
	}
	return data, nil
}

// UnmarshalBinary reads what MarshalBinary wrote, and nothing else: undoing a part of what another version of lanhook
// did would leave the rest behind.
func (s *Steps) UnmarshalBinary(data []byte) error {
	var steps Steps
	if err := Decode(data, func(c *Codec) { c.Steps(&steps) }); err != nil {
		return fmt.Errorf("read steps: %w", err)
	}
	*s = steps
	return nil
}

// Steps visits the steps of a plan.
func (c *Codec) Steps(v *Steps) {
	all := kinds()
	List(c, (*[]Step)(v), func(c *Codec, s *Step) { c.step(all, s) })
}

func (c *Codec) step(all []Step, v *Step) {
	var kind uint64
	for i, one := range all {
		if reflect.TypeOf(one) == reflect.TypeOf(*v) {
			kind = uint64(i)
		}
	}
	c.Uint(&kind)
	if kind == 0 || kind >= uint64(len(all)) {
		c.Fail(fmt.Errorf("a step is of the unknown kind %d", kind))
		return
	}
	if !c.reading {
		(*v).fields(c)
		return
	}
	*v = all[kind].fields(c)
}

func (s EnsureBridge) fields(c *Codec) Step {
	c.Text(&s.Name)
	c.MAC(&s.MAC)
	c.Int(&s.MTU)
	List(c, &s.Addresses, (*Codec).Prefix)
	List(c, &s.Without, (*Codec).Prefix)
	c.Flag(&s.AsIs)
	c.Flag(&s.Forward)
	c.Flag(&s.Localnet)
	c.Flag(&s.Filtered)
	c.Flag(&s.VLANs)
	c.Text(&s.VRF)
	c.Text(&s.Uplink)
	return s
}

func (s AddVeth) fields(c *Codec) Step {
	c.Text(&s.Name)
	c.MAC(&s.MAC)
	c.Text(&s.Bridge)
	c.Flag(&s.Hairpin)
	c.Flag(&s.Isolated)
	c.Int(&s.MTU)
	c.portVLANs(&s.VLANs)
	c.Text(&s.Peer)
	c.MAC(&s.PeerMAC)
	c.Int(&s.PeerMTU)
	return s
}

func (s AddMacvlan) fields(c *Codec) Step {
	c.Text(&s.Name)
	c.Text(&s.Parent)
	c.Int(&s.ParentIndex)
	Enum(c, &s.Mode, policy.ModeSource)
	c.Int(&s.Index)
	c.MAC(&s.MAC)
	c.Int(&s.MTU)
	c.Int(&s.BroadcastQueue)
	List(c, &s.Sources, (*Codec).MAC)
	return s
}

func (s SetSysctls) fields(c *Codec) Step {
	c.Text(&s.If)
	List(c, &s.Values, func(c *Codec, v *request.Sysctl) {
		c.Text(&v.Key)
		c.Text(&v.Value)
	})
	return s
}

func (s AddAddress) fields(c *Codec) Step {
	c.Text(&s.If)
	c.Prefix(&s.Address)
	return s
}

func (s SetLink) fields(c *Codec) Step {
	c.Text(&s.From)
	c.Text(&s.Name)
	c.Text(&s.Alias)
	c.Int(&s.TxQueueLen)
	c.Flag(&s.Promiscuous)
	c.Flag(&s.AllMulti)
	return s
}

func (s AddRoute) fields(c *Codec) Step {
	c.Text(&s.If)
	c.route(&s.Route)
	return s
}

func (s DelLink) fields(c *Codec) Step {
	Enum(c, &s.Side, Container)
	c.Text(&s.Name)
	c.Text(&s.IfName)
	c.Text(&s.Alias)
	c.Int(&s.Index)
	c.Text(&s.Kind)
	c.MAC(&s.MAC)
	return s
}

func (s DelRoute) fields(c *Codec) Step {
	c.route(&s.Route)
	return s
}

func (s ReleaseBridge) fields(c *Codec) Step {
	c.Text(&s.Name)
	c.Flag(&s.Filtered)
	c.Text(&s.Uplink)
	return s
}

func (s EnsureForwarding) fields(c *Codec) Step {
	List(c, &s.Links, (*Codec).Text)
	c.Flag(&s.V6)
	return s
}

func (s AddRules) fields(c *Codec) Step {
	c.Text(&s.Record)
	List(c, &s.Of, (*Codec).rules)
	return s
}

func (s DelRules) fields(c *Codec) Step {
	c.Text(&s.Record)
	List(c, &s.Of, (*Codec).rules)
	return s
}

func (s ReservePorts) fields(c *Codec) Step {
	List(c, &s.Ports, (*Codec).port)
	return s
}

func (s ReleasePorts) fields(c *Codec) Step {
	List(c, &s.Ports, (*Codec).port)
	return s
}

func (s ReleaseRules) fields(*Codec) Step { return s }

func (s SetRate) fields(c *Codec) Step {
	Enum(c, &s.Side, Container)
	c.Text(&s.If)
	c.rate(&s.Rate)
	return s
}

func (s AddGuard) fields(c *Codec) Step {
	c.Text(&s.Table)
	c.Text(&s.If)
	c.Flag(&s.Spoof)
	c.MAC(&s.MAC)
	List(c, &s.Addresses, (*Codec).Addr)
	c.Flag(&s.SharedMAC)
	c.rate(&s.In)
	return s
}

func (s DelGuard) fields(c *Codec) Step {
	c.Text(&s.Table)
	return s
}

func (c *Codec) rules(v *Rules) {
	c.Text(&v.Bridge)
	c.Text(&v.Port)
	Enum(c, &v.Gate, Closed)
	c.Flag(&v.ICC)
	c.Flag(&v.Isolate)
	List(c, &v.Addresses, (*Codec).Addr)
	List(c, &v.Masquerade, (*Codec).Addr)
	List(c, &v.SNAT, (*Codec).translation)
	List(c, &v.DNAT, (*Codec).translation)
	List(c, &v.Publish, (*Codec).publish)
	List(c, &v.Detour, (*Codec).Addr)
	List(c, &v.Unbound, (*Codec).Addr)
	c.Flag(&v.Spoof)
	c.MAC(&v.MAC)
	c.rate(&v.Out)
}

func (c *Codec) translation(v *Translation) {
	c.Addr(&v.From)
	c.Addr(&v.To)
}

func (c *Codec) publish(v *Publish) {
	Enum(c, &v.Protocol, request.SCTP)
	c.Addr(&v.Addr)
	c.port(&v.Host)
	c.Int(&v.Count)
	to, port := v.To.Addr(), v.To.Port()
	c.Addr(&to)
	c.port(&port)
	if c.reading {
		v.To = netip.AddrPortFrom(to, port)
	}
}

func (c *Codec) rate(v *policy.Rate) {
	c.Uint(&v.Bits)
	c.Uint(&v.Burst)
}

// port visits a number of 16 bits.
func (c *Codec) port(v *uint16) {
	n := uint64(*v)
	c.Uint(&n)
	if n > math.MaxUint16 {
		c.Fail(fmt.Errorf("number %d is no port", n))
		return
	}
	if c.reading {
		*v = uint16(n)
	}
}

func (c *Codec) route(v *request.Route) {
	Enum(c, &v.Type, request.Prohibit)
	c.Prefix(&v.Dst)
	c.Addr(&v.Via)
	c.Int(&v.Metric)
	c.Int(&v.Table)
	c.Int(&v.Scope)
	c.Addr(&v.Src)
	c.Flag(&v.OnLink)
}

// Interface visits an interface of a plan.
func (c *Codec) Interface(v *Interface) {
	c.Text(&v.Name)
	c.Text(&v.Network)
	c.Text(&v.Driver)
	c.Text(&v.Uplink)
	c.MAC(&v.MAC)
	c.Int(&v.MTU)
	List(c, &v.Addresses, (*Codec).Prefix)
	List(c, &v.Gateways, (*Codec).Addr)
	c.Text(&v.Rule)
	List(c, &v.Publish, (*Codec).publish)
	List(c, &v.DNAT, (*Codec).translation)
	List(c, &v.Host, (*Codec).Addr)
	Enum(c, &v.IPv6, policy.IPv6Off)
	List(c, &v.Learned, (*Codec).Prefix)
	c.Text(&v.Parent.Name)
	c.MAC((*MAC)(&v.Parent.MAC))
	c.Text(&v.Parent.AltName)
	c.Flag(&v.Parent.DefaultRoute)
}
