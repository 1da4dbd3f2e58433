//go:build linux

package main

// reaching measures containers that the host reaches, and between them others on the same parent: those that find the host's
// link made, and those with which it comes and goes.
func (b *bencher) reaching() error {
	b.say("a container that the host reaches: the first one")
	for range b.rounds {
		if err := b.cycle(b.lanhook, reached, first); err != nil {
			return err
		}
		if err := b.cycle(b.lanhook, macvlan, besideReached); err != nil {
			return err
		}
	}
	b.say("a container that the host reaches: beside another")
	resident, err := b.newContainer()
	if err != nil {
		return err
	}
	if _, err = b.measure(b.host, b.lanhook.attach(b.host, resident, reached)); err != nil {
		return err
	}
	for range b.rounds {
		if err = b.cycle(b.lanhook, reached, none); err != nil {
			return err
		}
		if err = b.cycle(b.lanhook, macvlan, besideReached); err != nil {
			return err
		}
	}
	return b.clear(0, resident)
}
