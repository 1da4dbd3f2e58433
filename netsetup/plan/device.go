package plan

// moveOf moves the device that facts have found.
func moveOf(l link) MoveLink {
	return MoveLink{Name: l.own, Device: l.device.Device, MAC: l.choice.MAC, MTU: l.MTU}
}
