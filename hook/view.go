package main

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/netsetup/store"
)

// recordView is a record as programs get it with --json. Its fields are stable; records themselves are not.
type recordView struct {
	Container string    `json:"container"`
	Workload  string    `json:"workload"`
	Runtime   string    `json:"runtime,omitempty"`
	Record    string    `json:"record"`
	State     string    `json:"state"`
	PID       int       `json:"pid,omitempty"`
	NetNS     uint64    `json:"netns"`
	Created   time.Time `json:"created"`
	// Guest names the files that the container reads.
	Guest      string           `json:"guest,omitempty"`
	Interfaces []plan.Interface `json:"interfaces"`
	// Joined are the containers whose interfaces it shares.
	Joined  []refView `json:"joined,omitempty"`
	Left    bool      `json:"left,omitempty"`
	Sandbox bool      `json:"sandbox,omitempty"`
	// Warnings are what the attach warned of, none for most.
	Warnings []string `json:"warnings,omitempty"`
}

// refView names a record.
type refView struct {
	Container string `json:"container"`
	Record    string `json:"record"`
}

func viewOf(rec store.Record) recordView {
	var joined []refView
	for _, ref := range rec.Joined {
		joined = append(joined, refView{ref.Container, ref.ID})
	}
	return recordView{
		Container:  rec.Container,
		Workload:   rec.Workload,
		Runtime:    rec.Runtime,
		Record:     rec.ID,
		State:      rec.State.String(),
		PID:        rec.Process.PID,
		NetNS:      rec.NetNS.Inode,
		Created:    rec.Created,
		Guest:      rec.Guest,
		Interfaces: shown(rec.Interfaces),
		Joined:     joined,
		Left:       rec.Left,
		Sandbox:    rec.Sandbox,
		Warnings:   rec.Warnings,
	}
}

func views(records []store.Record) []recordView {
	list := make([]recordView, 0, len(records))
	for _, rec := range records {
		list = append(list, viewOf(rec))
	}
	return list
}

func join[T interface{ String() string }](list []T) string {
	words := make([]string, 0, len(list))
	for _, x := range list {
		words = append(words, x.String())
	}
	return strings.Join(words, ",")
}

// short cuts an id as engines do.
func short(id string) string {
	const n = 12
	if len(id) == 64 {
		return id[:n]
	}
	return id
}

func addresses(i plan.Interface) string {
	return cmp.Or(join[netip.Prefix](slices.Concat(i.Addresses, i.Learned)), "-")
}

// shown are interfaces for programs: a list is never null, also when it is empty.
func shown(interfaces []plan.Interface) []plan.Interface {
	list := make([]plan.Interface, 0, len(interfaces))
	for _, i := range interfaces {
		if i.Addresses == nil {
			i.Addresses = []netip.Prefix{}
		}
		list = append(list, i)
	}
	return list
}
