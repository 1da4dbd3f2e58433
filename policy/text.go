package policy

import "fmt"

// The names are what stands in the policy and in records, by value. The zero value of each type is "".

func driverNames() []string {
	return []string{"", "macvlan", "bridge", "ipvlan", "vlan", "host-device"}
}

func modeNames() []string {
	return []string{"", "bridge", "private", "vepa", "passthru", "source", "l2", "l3", "l3s"}
}

func flagNames() []string { return []string{"", "bridge", "private", "vepa"} }

func vlanProtocolNames() []string { return []string{"", "802.1q", "802.1ad"} }

func macPolicyNames() []string { return []string{"", "stable", "random", "from-ip", "keep"} }

func ipamNames() []string { return []string{"", "local", "static", "none"} }

func gatewayModeNames() []string { return []string{"", "nat", "routed", "isolated"} }

// enum is a closed set with a name for each value.
type enum interface{ ~uint8 }

func nameOf[T enum](names []string, v T) string {
	if int(v) < len(names) {
		return names[v]
	}
	return fmt.Sprintf("invalid(%d)", uint8(v))
}

func textOf[T enum](kind string, names []string, v T) ([]byte, error) {
	if int(v) < len(names) {
		return []byte(names[v]), nil
	}
	return nil, fmt.Errorf("write %s: %d is none", kind, uint8(v))
}

func fromText[T enum](kind string, names []string, text []byte, v *T) error {
	for i, name := range names {
		if name == string(text) {
			*v = T(i) // #nosec G115 -- the lists above have at most nine names
			return nil
		}
	}
	return fmt.Errorf("read %s: there is no %.40q", kind, text)
}

// String is the driver's name in the policy.
func (d Driver) String() string { return nameOf(driverNames(), d) }

// MarshalText writes the driver's name, "" for the zero value. The error is that there is no such driver.
func (d Driver) MarshalText() ([]byte, error) { return textOf("driver", driverNames(), d) }

// UnmarshalText reads what [Driver.MarshalText] writes.
func (d *Driver) UnmarshalText(text []byte) error { return fromText("driver", driverNames(), text, d) }

// String is the mode's name in the policy and in ip-link(8).
func (m Mode) String() string { return nameOf(modeNames(), m) }

// MarshalText writes the mode's name, "" for the zero value. The error is that there is no such mode.
func (m Mode) MarshalText() ([]byte, error) { return textOf("mode", modeNames(), m) }

// UnmarshalText reads what [Mode.MarshalText] writes.
func (m *Mode) UnmarshalText(text []byte) error { return fromText("mode", modeNames(), text, m) }

// String is the name in the policy.
func (m MACPolicy) String() string { return nameOf(macPolicyNames(), m) }

// MarshalText writes the name, "" for the zero value. The error is that there is no such MAC policy.
func (m MACPolicy) MarshalText() ([]byte, error) { return textOf("mac policy", macPolicyNames(), m) }

// UnmarshalText reads what [MACPolicy.MarshalText] writes.
func (m *MACPolicy) UnmarshalText(text []byte) error {
	return fromText("mac policy", macPolicyNames(), text, m)
}

// String is the name in the policy.
func (i IPAM) String() string { return nameOf(ipamNames(), i) }

// MarshalText writes the name, "" for the zero value. The error is that there is no such way to choose addresses.
func (i IPAM) MarshalText() ([]byte, error) { return textOf("ipam", ipamNames(), i) }

// UnmarshalText reads what [IPAM.MarshalText] writes.
func (i *IPAM) UnmarshalText(text []byte) error { return fromText("ipam", ipamNames(), text, i) }

// String is the name in the policy.
func (g GatewayMode) String() string { return nameOf(gatewayModeNames(), g) }

// MarshalText writes the name, "" for the zero value. The error is that there is no such gateway mode.
func (g GatewayMode) MarshalText() ([]byte, error) {
	return textOf("gateway mode", gatewayModeNames(), g)
}

// UnmarshalText reads what [GatewayMode.MarshalText] writes.
func (g *GatewayMode) UnmarshalText(text []byte) error {
	return fromText("gateway mode", gatewayModeNames(), text, g)
}

// String is the flag's name in the policy and in ip-link(8).
func (f Flag) String() string { return nameOf(flagNames(), f) }

// MarshalText writes the flag's name, "" for the zero value. The error is that there is no such flag.
func (f Flag) MarshalText() ([]byte, error) { return textOf("flag", flagNames(), f) }

// UnmarshalText reads what [Flag.MarshalText] writes.
func (f *Flag) UnmarshalText(text []byte) error { return fromText("flag", flagNames(), text, f) }

// String is the name in the policy and in ip-link(8).
func (v VLANProtocol) String() string { return nameOf(vlanProtocolNames(), v) }

// MarshalText writes the name, "" for the zero value. The error is that there is no such protocol.
func (v VLANProtocol) MarshalText() ([]byte, error) {
	return textOf("vlan protocol", vlanProtocolNames(), v)
}

// UnmarshalText reads what [VLANProtocol.MarshalText] writes.
func (v *VLANProtocol) UnmarshalText(text []byte) error {
	return fromText("vlan protocol", vlanProtocolNames(), text, v)
}
