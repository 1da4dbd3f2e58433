//go:build linux

package kernel

import (
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// sent is a message as the kernel sends it, with the padding behind it.
func sent(kind, flags uint16, seq uint32, body ...[]byte) []byte {
	all := slices.Concat(body...)
	msg := binary.NativeEndian.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+len(all)))
	msg = binary.NativeEndian.AppendUint16(msg, kind)
	msg = binary.NativeEndian.AppendUint16(msg, flags)
	msg = binary.NativeEndian.AppendUint32(msg, seq)
	msg = binary.NativeEndian.AppendUint32(msg, 4711)
	msg = append(msg, all...)
	return append(msg, make([]byte, -len(msg)&3)...)
}

func minus(e unix.Errno) []byte { return binary.NativeEndian.AppendUint32(nil, -uint32(e)) }

func TestAnswer(t *testing.T) {
	const link, seq = unix.RTM_NEWLINK, 7
	request := sent(unix.RTM_GETLINK, unix.NLM_F_REQUEST, seq, []byte("twelve bytes"))
	because := nl.NewRtAttr(errorText, nl.ZeroTerminated("for a reason")).Serialize()
	for name, c := range map[string]struct {
		datagrams [][]byte
		want      []string
		err       error
		text      string
		open      bool
	}{
		"one":             {datagrams: [][]byte{sent(link, 0, seq, []byte("a"))}, want: []string{"a"}},
		"acknowledgement": {datagrams: [][]byte{sent(unix.NLMSG_ERROR, unix.NLM_F_CAPPED, seq, minus(0), request[:16])}},
		"a list in two pieces": {
			datagrams: [][]byte{
				slices.Concat(sent(link, unix.NLM_F_MULTI, seq, []byte("a")), sent(link, unix.NLM_F_MULTI, seq, []byte("bcdef"))),
				sent(unix.NLMSG_DONE, unix.NLM_F_MULTI, seq, minus(0)),
			},
			want: []string{"a", "bcdef"},
		},
		"a list with no number at its end": {datagrams: [][]byte{sent(unix.NLMSG_DONE, unix.NLM_F_MULTI, seq)}},
		"a list that is not whole":         {datagrams: [][]byte{sent(link, unix.NLM_F_MULTI, seq, []byte("a"))}, want: []string{"a"}, open: true},
		"a list that changed": {
			datagrams: [][]byte{
				sent(link, unix.NLM_F_MULTI|unix.NLM_F_DUMP_INTR, seq, []byte("a")),
				sent(unix.NLMSG_DONE, unix.NLM_F_MULTI, seq, minus(0)),
			},
			want: []string{"a"}, err: errInterrupted, text: errInterrupted.Error(),
		},
		"what an earlier request left": {
			datagrams: [][]byte{
				sent(unix.NLMSG_ERROR, 0, seq-1, minus(unix.EPERM), request), sent(link, 0, seq, []byte("a")),
			},
			want: []string{"a"},
		},
		"error without a text": {
			datagrams: [][]byte{sent(unix.NLMSG_ERROR, 0, seq, minus(unix.ENODEV), request)},
			err:       unix.ENODEV, text: "no such device",
		},
		"error with a text behind the request": {
			datagrams: [][]byte{sent(unix.NLMSG_ERROR, unix.NLM_F_ACK_TLVS, seq, minus(unix.EINVAL), request, because)},
			err:       unix.EINVAL, text: "invalid argument: for a reason",
		},
		"error with a text behind the request's header": {
			datagrams: [][]byte{
				sent(unix.NLMSG_ERROR, unix.NLM_F_ACK_TLVS|unix.NLM_F_CAPPED, seq, minus(unix.EINVAL), request[:16], because),
			},
			err: unix.EINVAL, text: "invalid argument: for a reason",
		},
		"error at the end of a list": {
			datagrams: [][]byte{
				sent(unix.NLMSG_DONE, unix.NLM_F_MULTI|unix.NLM_F_ACK_TLVS, seq, minus(unix.ENOENT), because),
			},
			err: unix.ENOENT, text: "no such file or directory: for a reason",
		},
		"error about a request of an impossible length": {
			datagrams: [][]byte{
				sent(unix.NLMSG_ERROR, unix.NLM_F_ACK_TLVS, seq, minus(unix.EPERM), slices.Repeat([]byte{0xff}, 16), because),
			},
			err: unix.EPERM, text: "operation not permitted",
		},
		"error without a number":     {datagrams: [][]byte{sent(unix.NLMSG_ERROR, 0, seq)}, text: "netlink error without a number"},
		"less than a header":         {datagrams: [][]byte{{1, 2, 3}}, text: "netlink message of 0 bytes where 3 are left"},
		"length below the header's":  {datagrams: [][]byte{make([]byte, 16)}, text: "netlink message of 0 bytes where 16 are left"},
		"length above what is there": {datagrams: [][]byte{sent(link, 0, seq, []byte("abcd"))[:18]}, text: "netlink message of 20 bytes where 18 are left"},
	} {
		t.Run(name, func(t *testing.T) {
			a := answer{seq: seq}
			var (
				done bool
				err  error
			)
			for _, d := range c.datagrams {
				if done || err != nil {
					t.Fatal("it ended before the last datagram")
				}
				done, err = a.add(d)
				clear(d) // The buffer is used again.
			}
			if got := errorString(err); got != c.text || c.err != nil && !errors.Is(err, c.err) {
				t.Errorf("error %q, want %q", got, c.text)
			}
			if wantDone := !c.open && (c.text == "" || c.err != nil || name == "error without a number"); done != wantDone {
				t.Errorf("done is %v, want %v", done, wantDone)
			}
			var got []string
			for _, b := range a.bodies {
				got = append(got, string(b))
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("messages (-want +got):\n%s", diff)
			}
		})
	}
}

// Whatever comes, it is read to its end or refused.
func FuzzAnswer(f *testing.F) {
	f.Add(sent(unix.RTM_NEWLINK, 0, 7, []byte("body")))
	f.Add(sent(unix.NLMSG_ERROR, unix.NLM_F_ACK_TLVS, 7, minus(unix.EPERM), make([]byte, 16)))
	f.Add(sent(unix.NLMSG_DONE, unix.NLM_F_MULTI|unix.NLM_F_ACK_TLVS, 7, minus(unix.ENOENT), []byte{1, 2, 3}))
	f.Fuzz(func(t *testing.T, datagram []byte) {
		a := answer{seq: 7}
		done, err := a.add(datagram)
		total := 0
		for _, b := range a.bodies {
			total += len(b) + unix.SizeofNlMsghdr
		}
		if total > len(datagram) {
			t.Errorf("%d bytes were read from %d", total, len(datagram))
		}
		if done && err == nil && len(datagram) < unix.SizeofNlMsghdr {
			t.Error("an answer without a header is accepted")
		}
	})
}

func errorString(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
