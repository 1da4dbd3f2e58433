package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// journalSocket is where systemd's journal takes datagrams in its native protocol
// (https://systemd.io/JOURNAL_NATIVE_PROTOCOL). It is spoken here, and not by a library, because the one that there is
// dials by package net, which would make the hook a tenth larger with a resolver that it never calls.
const journalSocket = "/run/systemd/journal/socket"

// hasJournal says whether there is a journal to write to.
func hasJournal() bool { return unix.Access(journalSocket, unix.W_OK) == nil }

// journalPatience bounds the wait for a journal that does not read what it is sent, in microseconds.
const journalPatience = 250_000

// journalHandler sends each record as one datagram to a socket, attributes as fields of their own.
type journalHandler struct {
	socket string
	attrs  []slog.Attr
}

func (h *journalHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= slog.LevelInfo
}

func (h *journalHandler) Handle(_ context.Context, r slog.Record) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open a socket for the journal: %w", err)
	}
	defer unix.Close(fd) //nolint:errcheck // nothing is left to write
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &unix.Timeval{Usec: journalPatience}); err != nil {
		return fmt.Errorf("bound the wait for the journal: %w", err)
	}
	if err := unix.Sendto(fd, h.datagram(r), unix.MSG_NOSIGNAL, &unix.SockaddrUnix{Name: h.socket}); err != nil {
		return fmt.Errorf("write to the journal: %w", err)
	}
	return nil
}

// datagram is a record in the native protocol: fields, each a line NAME=VALUE.
func (h *journalHandler) datagram(r slog.Record) []byte {
	text := r.Message
	var fields []byte
	add := func(a slog.Attr) bool {
		text += " " + a.Key + "=" + a.Value.String()
		fields = appendField(fields, "LANHOOK_"+strings.ToUpper(a.Key), a.Value.String())
		return true
	}
	for _, a := range h.attrs {
		add(a)
	}
	r.Attrs(add)
	fields = appendField(fields, "SYSLOG_IDENTIFIER", "lanhook")
	fields = appendField(fields, "PRIORITY", priority(r.Level))
	return appendField(fields, "MESSAGE", text)
}

// appendField writes a value with a newline in the protocol's other form: name, newline, length as 64 bits little
// endian, value.
func appendField(b []byte, name, value string) []byte {
	b = append(b, name...)
	if strings.Contains(value, "\n") {
		b = append(b, '\n')
		b = binary.LittleEndian.AppendUint64(b, uint64(len(value)))
	} else {
		b = append(b, '=')
	}
	b = append(b, value...)
	return append(b, '\n')
}

// priority is syslog(3)'s level.
func priority(l slog.Level) string {
	switch {
	case l >= slog.LevelError:
		return "3"
	case l >= slog.LevelWarn:
		return "4"
	}
	return "6"
}

func (h *journalHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &journalHandler{socket: h.socket, attrs: slices.Concat(h.attrs, attrs)}
}

// WithGroup is not used by lanhook: its events are flat.
func (h *journalHandler) WithGroup(string) slog.Handler { return h }
