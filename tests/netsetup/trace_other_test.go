//go:build linux && !amd64 && !arm64

package netsetup_test

// tracer is not there: how a system call is made to fail is known for two architectures only.
func tracer() int { return 1 }
