//go:build linux

package main

// asking measures containers whose addresses their LAN is asked for, and between them others on the same parent that nobody is
// asked about. Nobody on the LAN has any of the addresses.
func (b *bencher) asking() error {
	b.say("a container whose addresses the LAN is asked for")
	for range b.rounds {
		if err := b.cycle(b.lanhook, asked, none); err != nil {
			return err
		}
		if err := b.cycle(b.lanhook, macvlan, besideAsked); err != nil {
			return err
		}
	}
	return nil
}
