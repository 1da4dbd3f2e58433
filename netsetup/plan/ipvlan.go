package plan

func ipvlanOf(l link) AddIPVLAN {
	return AddIPVLAN{
		Name: l.own, Parent: l.uplink.Name, ParentIndex: l.uplink.Index, Mode: l.Network.Mode, Flag: l.Network.Flag, MTU: l.mtu,
	}
}
