package plan

import "github.com/lanhook/lanhook/policy"

func (s AddIPVLAN) fields(c *Codec) Step {
	c.Text(&s.Name)
	c.Text(&s.Parent)
	c.Int(&s.ParentIndex)
	Enum(c, &s.Mode, policy.ModeL3S)
	Enum(c, &s.Flag, policy.FlagVEPA)
	c.Int(&s.Index)
	c.Int(&s.MTU)
	return s
}

func (s EnsureVLAN) fields(c *Codec) Step {
	c.Text(&s.Name)
	c.Text(&s.Parent)
	c.tag(&s.Tag)
	return s
}

func (s AddVLAN) fields(c *Codec) Step {
	c.Text(&s.Name)
	c.Text(&s.Parent)
	c.Int(&s.ParentIndex)
	c.tag(&s.Tag)
	c.Int(&s.Index)
	c.MAC(&s.MAC)
	c.Int(&s.MTU)
	return s
}

func (s MoveLink) fields(c *Codec) Step {
	c.Text(&s.Name)
	c.Text(&s.Alias)
	c.device(&s.Device)
	c.Int(&s.Index)
	c.MAC(&s.MAC)
	c.Int(&s.MTU)
	return s
}

func (s EnsureUplink) fields(c *Codec) Step {
	c.Text(&s.Bridge)
	c.Text(&s.Link)
	List(c, &s.VLANs, (*Codec).vlans)
	c.Flag(&s.DefaultVLAN)
	return s
}

func (s AddRouteRule) fields(c *Codec) Step {
	c.Addr(&s.From)
	c.Int(&s.Table)
	c.Int(&s.Priority)
	return s
}

func (s ReleaseVLAN) fields(c *Codec) Step {
	c.Text(&s.Name)
	c.Text(&s.Parent)
	c.tag(&s.Tag)
	return s
}

func (s ReturnLink) fields(c *Codec) Step {
	c.Text(&s.Name)
	c.Text(&s.IfName)
	c.Text(&s.Alias)
	c.Int(&s.Index)
	c.device(&s.Device)
	return s
}

func (s ReleaseUplink) fields(c *Codec) Step {
	c.Text(&s.Bridge)
	c.Text(&s.Link)
	List(c, &s.VLANs, (*Codec).vlans)
	return s
}

func (s DelRouteRule) fields(c *Codec) Step {
	c.Addr(&s.From)
	c.Int(&s.Table)
	c.Int(&s.Priority)
	return s
}

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
