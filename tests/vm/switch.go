//go:build linux

package vm

import (
	"net"
	"os"
)

type Port struct {
	mac net.HardwareAddr
	far *os.File
}
