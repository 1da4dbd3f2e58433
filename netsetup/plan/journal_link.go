package plan

import "github.com/lanhook/lanhook/policy"

func linkKindOf(s Step) uint64 {
	switch s.(type) {
	case AddIPVLAN:
		return addIPVLAN
	case EnsureVLAN:
		return ensureVLAN
	case AddVLAN:
		return addVLAN
	case MoveLink:
		return moveLink
	case EnsureUplink:
		return ensureUplink
	case AddRouteRule:
		return addRouteRule
	case ReleaseVLAN:
		return releaseVLAN
	case ReturnLink:
		return returnLink
	case ReleaseUplink:
		return releaseUplink
	case DelRouteRule:
		return delRouteRule
	case ProbeLinks:
		return probeLinks
	case AnnounceLinks:
		return announceLinks
	case AwaitAddresses:
		return awaitAddresses
	default:
		return hostLinkKindOf(s)
	}
}

// linking visits a step that makes links of other kinds than the first ones, or undoes that.
func (c *Codec) linking(kind uint64, v *Step) {
	switch kind {
	case addIPVLAN:
		visit[AddIPVLAN](c, v)
	case ensureVLAN:
		visit[EnsureVLAN](c, v)
	case addVLAN:
		visit[AddVLAN](c, v)
	case moveLink:
		visit[MoveLink](c, v)
	case ensureUplink:
		visit[EnsureUplink](c, v)
	case addRouteRule:
		visit[AddRouteRule](c, v)
	case releaseVLAN:
		visit[ReleaseVLAN](c, v)
	case returnLink:
		visit[ReturnLink](c, v)
	case releaseUplink:
		visit[ReleaseUplink](c, v)
	case delRouteRule:
		visit[DelRouteRule](c, v)
	case probeLinks:
		visit[ProbeLinks](c, v)
	case announceLinks:
		visit[AnnounceLinks](c, v)
	case awaitAddresses:
		visit[AwaitAddresses](c, v)
	default:
		c.hostLink(kind, v)
	}
}

func (s *AddIPVLAN) fields(c *Codec) {
	c.Text(&s.Name)
	c.Text(&s.Parent)
	c.Int(&s.ParentIndex)
	Enum(c, &s.Mode, policy.ModeL3S)
	Enum(c, &s.Flag, policy.FlagVEPA)
	c.Int(&s.Index)
	c.Int(&s.MTU)
}

func (s *EnsureVLAN) fields(c *Codec) {
	c.Text(&s.Name)
	c.Text(&s.Parent)
	c.tag(&s.Tag)
}

func (s *AddVLAN) fields(c *Codec) {
	c.Text(&s.Name)
	c.Text(&s.Parent)
	c.Int(&s.ParentIndex)
	c.tag(&s.Tag)
	c.Int(&s.Index)
	c.MAC(&s.MAC)
	c.Int(&s.MTU)
}

func (s *MoveLink) fields(c *Codec) {
	c.Text(&s.Name)
	c.Text(&s.Alias)
	c.device(&s.Device)
	c.Int(&s.Index)
	c.MAC(&s.MAC)
	c.Int(&s.MTU)
}

func (s *EnsureUplink) fields(c *Codec) {
	c.Text(&s.Bridge)
	c.Text(&s.Link)
	List(c, &s.VLANs, (*Codec).vlans)
	c.Flag(&s.DefaultVLAN)
}

func (s *AddRouteRule) fields(c *Codec) {
	c.Addr(&s.From)
	c.Int(&s.Table)
	c.Int(&s.Priority)
}

func (s *ReleaseVLAN) fields(c *Codec) { (*EnsureVLAN)(s).fields(c) }

func (s *ReturnLink) fields(c *Codec) {
	c.Text(&s.Name)
	c.Text(&s.IfName)
	c.Text(&s.Alias)
	c.Int(&s.Index)
	c.device(&s.Device)
}

func (s *ReleaseUplink) fields(c *Codec) {
	c.Text(&s.Bridge)
	c.Text(&s.Link)
	List(c, &s.VLANs, (*Codec).vlans)
}

func (s *DelRouteRule) fields(c *Codec) { (*AddRouteRule)(s).fields(c) }

func (c *Codec) tag(v *policy.Tag) {
	c.Int(&v.ID)
	Enum(c, &v.Protocol, policy.Dot1AD)
}

func (c *Codec) vlans(v *policy.VLANRange) {
	c.Int(&v.From)
	c.Int(&v.To)
}

func (c *Codec) portVLANs(v *PortVLANs) {
	c.Int(&v.Access)
	List(c, &v.Trunk, (*Codec).vlans)
	c.Flag(&v.Default)
}

func (c *Codec) device(v *Device) {
	c.Text(&v.Name)
	c.Int(&v.Index)
	c.Text(&v.Kind)
	c.MAC(&v.MAC)
	c.MAC(&v.Permanent)
	c.Text(&v.Path)
	c.Int(&v.MTU)
	c.Flag(&v.Up)
	c.Flag(&v.NoIPv6)
	c.Flag(&v.Promiscuous)
	c.Flag(&v.AllMulti)
	c.Int(&v.TxQueueLen)
	c.Text(&v.Alias)
	List(c, &v.AltNames, (*Codec).Text)
	List(c, &v.Addresses, (*Codec).deviceAddress)
	c.Flag(&v.NoARP)
	c.Flag(&v.NoMulticast)
	c.Int(&v.Group)
	c.Int(&v.Parent)
}

func (c *Codec) deviceAddress(v *DeviceAddress) {
	c.Prefix(&v.Address)
	c.Addr(&v.Peer)
	c.Addr(&v.Broadcast)
	c.Text(&v.Label)
	c.Int(&v.Scope)
	c.Int(&v.Flags)
	c.Int(&v.Metric)
}
