//go:build linux

package firewall

import (
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Error is something that nftables refused. Its message names what was being done, and keeps the kernel's own words. The
// error number is found with [errors.Is].
type Error struct {
	// Op is what was being done: "add rules of abcdefghij".
	Op string
	// Err is the first of the kernel's errors.
	Err  error
	hint string
}

func (e *Error) Error() string { return fmt.Sprintf("%s: %v", e.Op, e.Err) }

func (e *Error) Unwrap() error { return e.Err }

// Hint says what would help, "" for nothing.
func (e *Error) Hint() string { return e.hint }

// StaleError says that lanhook's tables are not what they should be: one, or a set in it, is missing (ENOENT), or an entry
// that is to be added is there with another value (EEXIST). [Conn.Renew] makes it right.
type StaleError struct{ Err error }

func (e *StaleError) Error() string {
	return fmt.Sprintf("the firewall's tables are not as lanhook left them: %v", e.Err)
}

func (e *StaleError) Unwrap() error { return e.Err }

// failed says what was being done when err came, and passes nil through.
func failed(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	e := &Error{Op: fmt.Sprintf(format, args...), Err: first(err)}
	switch {
	case errors.Is(err, unix.EPERM):
		e.hint = "needs CAP_NET_ADMIN in the user namespace of the network namespace: run as root"
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EPROTONOSUPPORT):
		e.hint = "the kernel lacks a part of nftables or its module: modprobe nf_tables nft_chain_nat nft_nat nft_masq nft_ct " +
			"nft_fib_inet"
	}
	return e
}

// refusal is one error of the kernel's, with its words.
type refusal struct {
	words string
	err   error
}

func (r *refusal) Error() string {
	if r.words == "" {
		return r.err.Error()
	}
	return r.words + ": " + r.err.Error()
}

func (r *refusal) Unwrap() error { return r.err }

// first is the first of a transaction's errors: the others mostly follow from it.
func first(err error) error {
	var op *netlink.OpError
	var number unix.Errno
	if errors.As(err, &op) && errors.As(op.Err, &number) {
		return &refusal{words: op.Message, err: number}
	}
	return err
}
