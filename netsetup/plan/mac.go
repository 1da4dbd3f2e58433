package plan

import (
	"fmt"
	"net"
)

// MAC is a link-layer address that is written as text in JSON, where net.HardwareAddr would be base64.
type MAC net.HardwareAddr

// String is the address as colon-separated hexadecimal, "" for none.
func (m MAC) String() string { return net.HardwareAddr(m).String() }

// MarshalText writes what String returns.
func (m MAC) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText reads six colon-separated bytes, or nothing.
func (m *MAC) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*m = nil
		return nil
	}
	addr, err := net.ParseMAC(string(text))
	if err != nil || len(addr) != 6 {
		return fmt.Errorf("parse MAC address %q: not six bytes in hexadecimal", text)
	}
	*m = MAC(addr)
	return nil
}
