package plan

import (
	"errors"
	"fmt"
	"math"
	"net/netip"

	"github.com/lanhook/lanhook/policy"
	"github.com/lanhook/lanhook/policy/request"
)

// Steps are the steps of a plan in order. In a record they are a list, each step being the number of its kind and its
// fields, see [Codec].
type Steps []Step

// The numbers of the steps' kinds. They are part of the record's format.
const (
	noStep uint64 = iota
	ensureBridge
	addVeth
	addMacvlan
	setSysctls
	addAddress
	setLink
	addRoute
	delLink
	delRoute
	releaseBridge
	ensureForwarding
	addRules
	reservePorts
	setRate
	addGuard
	delRules
	releaseRules
	releasePorts
	delGuard
	addIPVLAN
	ensureVLAN
	addVLAN
	moveLink
	ensureUplink
	addRouteRule
	releaseVLAN
	returnLink
	releaseUplink
	delRouteRule
	probeLinks
	announceLinks
	ensureHostLink
	addHostRoute
	releaseHostLink
	delHostRoute
	awaitAddresses
)

func kindOf(s Step) uint64 {
	switch s.(type) {
	case EnsureBridge:
		return ensureBridge
	case AddVeth:
		return addVeth
	case AddMacvlan:
		return addMacvlan
	case SetSysctls:
		return setSysctls
	case AddAddress:
		return addAddress
	case SetLink:
		return setLink
	case AddRoute:
		return addRoute
	case DelLink:
		return delLink
	case DelRoute:
		return delRoute
	case ReleaseBridge:
		return releaseBridge
	case EnsureForwarding:
		return ensureForwarding
	case AddRules:
		return addRules
	case ReservePorts:
		return reservePorts
	case SetRate:
		return setRate
	case AddGuard:
		return addGuard
	case DelRules:
		return delRules
	case ReleaseRules:
		return releaseRules
	case ReleasePorts:
		return releasePorts
	case DelGuard:
		return delGuard
	}
	return linkKindOf(s)
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
func (c *Codec) Steps(v *Steps) { List(c, (*[]Step)(v), (*Codec).step) }

func (c *Codec) step(v *Step) {
	kind := kindOf(*v)
	c.Uint(&kind)
	switch kind {
	case ensureBridge:
		visit[EnsureBridge](c, v)
	case addVeth:
		visit[AddVeth](c, v)
	case addMacvlan:
		visit[AddMacvlan](c, v)
	case setSysctls:
		visit[SetSysctls](c, v)
	case addAddress:
		visit[AddAddress](c, v)
	case setLink:
		visit[SetLink](c, v)
	case addRoute:
		visit[AddRoute](c, v)
	case ensureForwarding:
		visit[EnsureForwarding](c, v)
	case addRules:
		visit[AddRules](c, v)
	case reservePorts:
		visit[ReservePorts](c, v)
	case setRate:
		visit[SetRate](c, v)
	case addGuard:
		visit[AddGuard](c, v)
	default:
		c.linking(kind, v)
	}
}

// undoing visits a step that undoes another.
func (c *Codec) undoing(kind uint64, v *Step) {
	switch kind {
	case delLink:
		visit[DelLink](c, v)
	case delRoute:
		visit[DelRoute](c, v)
	case releaseBridge:
		visit[ReleaseBridge](c, v)
	case delRules:
		visit[DelRules](c, v)
	case releaseRules:
		visit[ReleaseRules](c, v)
	case releasePorts:
		visit[ReleasePorts](c, v)
	case delGuard:
		visit[DelGuard](c, v)
	default:
		c.Fail(fmt.Errorf("a step is of the unknown kind %d", kind))
	}
}

// visit visits a step of the kind T: the one in v, or one that is read and put there.
func visit[T Step, P interface {
	*T
	fields(c *Codec)
}](c *Codec, v *Step) {
	step, ok := (*v).(T)
	if !ok && !c.reading {
		c.Fail(errors.New("a step is not of the kind that its number says"))
		return
	}
	P(&step).fields(c)
	if c.reading {
		*v = step
	}
}

func (s *EnsureBridge) fields(c *Codec) {
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
}

func (s *AddVeth) fields(c *Codec) {
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
}

func (s *AddMacvlan) fields(c *Codec) {
	c.Text(&s.Name)
	c.Text(&s.Parent)
	c.Int(&s.ParentIndex)
	Enum(c, &s.Mode, policy.ModeSource)
	c.Int(&s.Index)
	c.MAC(&s.MAC)
	c.Int(&s.MTU)
	c.Int(&s.BroadcastQueue)
	List(c, &s.Sources, (*Codec).MAC)
}

func (s *SetSysctls) fields(c *Codec) {
	c.Text(&s.If)
	List(c, &s.Values, func(c *Codec, v *request.Sysctl) {
		c.Text(&v.Key)
		c.Text(&v.Value)
	})
}

func (s *AddAddress) fields(c *Codec) {
	c.Text(&s.If)
	c.Prefix(&s.Address)
}

func (s *SetLink) fields(c *Codec) {
	c.Text(&s.From)
	c.Text(&s.Name)
	c.Text(&s.Alias)
	c.Int(&s.TxQueueLen)
	c.Flag(&s.Promiscuous)
	c.Flag(&s.AllMulti)
}

func (s *AddRoute) fields(c *Codec) {
	c.Text(&s.If)
	c.route(&s.Route)
}

func (s *DelLink) fields(c *Codec) {
	Enum(c, &s.Side, Container)
	c.Text(&s.Name)
	c.Text(&s.IfName)
	c.Text(&s.Alias)
	c.Int(&s.Index)
	c.Text(&s.Kind)
	c.MAC(&s.MAC)
}

func (s *DelRoute) fields(c *Codec) { c.route(&s.Route) }

func (s *ReleaseBridge) fields(c *Codec) {
	c.Text(&s.Name)
	c.Flag(&s.Filtered)
	c.Text(&s.Uplink)
}

func (s *EnsureForwarding) fields(c *Codec) {
	List(c, &s.Links, (*Codec).Text)
	c.Flag(&s.V6)
}

func (s *AddRules) fields(c *Codec) {
	c.Text(&s.Record)
	List(c, &s.Of, (*Codec).rules)
}

func (s *DelRules) fields(c *Codec) { (*AddRules)(s).fields(c) }

func (s *ReservePorts) fields(c *Codec) { List(c, &s.Ports, (*Codec).port) }

func (s *ReleasePorts) fields(c *Codec) { (*ReservePorts)(s).fields(c) }

func (s *ReleaseRules) fields(*Codec) {}

func (s *SetRate) fields(c *Codec) {
	Enum(c, &s.Side, Container)
	c.Text(&s.If)
	c.rate(&s.Rate)
}

func (s *AddGuard) fields(c *Codec) {
	c.Text(&s.Table)
	c.Text(&s.If)
	c.Flag(&s.Spoof)
	c.MAC(&s.MAC)
	List(c, &s.Addresses, (*Codec).Addr)
	c.Flag(&s.SharedMAC)
	c.rate(&s.In)
}

func (s *DelGuard) fields(c *Codec) { c.Text(&s.Table) }

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
}
