package policy

// String is the parent as the policy selects it, for messages.
func (p Parent) String() string {
	switch {
	case p.Name != "":
		return p.Name
	case p.MAC != nil:
		return "with MAC address " + p.MAC.String()
	case p.AltName != "":
		return "with alternative name " + p.AltName
	case p.DefaultRoute:
		return "of the default route"
	}
	return "none"
}
