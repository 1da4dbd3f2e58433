package policy

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

const (
	// minRate is far below any link; a smaller number has lost its prefix.
	minRate = 8_000
	// maxRate is above any link there is.
	maxRate = 1_000_000_000_000
	// minBurst is one frame of 1500 bytes: a bucket that is smaller than a packet never lets it through.
	minBurst = 2 << 10
	// maxBurst fits into the 32 bits that tbf and nftables have for it.
	maxBurst = 1 << 30
	// frame is what an Ethernet header with a VLAN tag adds to the MTU.
	frame = 18
	// leastDefault has room for the largest packet that a link of segments hands on as one: 64 KiB, and for each of its 45
	// segments the headers that a queue counts. A smaller bucket makes tbf cut each of them up, and a policer drop it.
	leastDefault = 72 << 10
	// defaultBursts a second: at 10 ms, a timer tick of any kernel (CONFIG_HZ=100) fills less than the bucket.
	defaultBursts = 100
)

// twoWay is a number for each direction, 0 for none.
type twoWay struct {
	in, out uint64
	// table is true when each direction was written by itself.
	table bool
	// wrong is true when something in it was not understood.
	wrong bool
}

// amount reads a number with a unit; why is "" when it is one.
type amount func(s string) (n uint64, why, hint string)

// eachWay reads one text for both directions, or a table of them.
func (d *decoder) eachWay(v value, read amount) twoWay {
	both, found := twoWay{table: v.kind == kindTable}, len(d.found)
	if both.table {
		if len(v.entries) == 0 {
			d.fail(v.at, "write in, out or both", "%s is empty", v.name)
		}
		decode(d, v, []field[twoWay]{
			{name: "in", set: func(d *decoder, w *twoWay, v value) { w.in = d.amount(v, read) }},
			{name: "out", set: func(d *decoder, w *twoWay, v value) { w.out = d.amount(v, read) }},
		}, nil, &both)
	} else {
		both.in = d.amount(v, read)
		both.out = both.in
	}
	both.wrong = len(d.found) > found
	return both
}

// amount reads a number with its unit, 0 when it is none.
func (d *decoder) amount(v value, read amount) uint64 {
	if !v.is(d, kindString, "write a number with its unit in quotes, or a table with in and out") {
		return 0
	}
	n, why, hint := read(v.text)
	if why != "" {
		d.fail(v.at, hint, "%s: %s %s", v.name, quoted(v.text), why)
	}
	return n
}

// rates puts rate and burst together. mtu is 0 where it is not known.
func (d *decoder) rates(seen map[string]mark, name string, mtu int, rate, burst twoWay) Rates {
	least := uint64(mtu + frame) // #nosec G115 -- an MTU is not negative
	at, bursts := seen["burst"]
	_, rated := seen["rate"]
	switch {
	case !bursts || rate.wrong || burst.wrong:
	case !rated:
		d.fail(at, "take it out, or add rate", "%s: burst is how much may come at once above a rate, and there is no rate", name)
	case burst.table && burst.in != 0 && rate.in == 0, burst.table && burst.out != 0 && rate.out == 0:
		d.fail(at, "take that direction out", "%s: burst is there for a direction that has no rate", name)
	case mtu != 0 && (burst.in != 0 && burst.in < least || burst.out != 0 && burst.out < least):
		d.fail(at, fmt.Sprintf("write %db at least", least), "%s: no packet of mtu %d fits into burst", name, mtu)
	}
	return Rates{rateWith(rate.in, burst.in), rateWith(rate.out, burst.out)}
}

// rateWith is a bound with its burst, or that of its rate where it is 0.
func rateWith(bits, burst uint64) Rate {
	if bits == 0 {
		return Rate{}
	}
	if burst == 0 {
		burst = defaultBurst(bits)
	}
	return Rate{bits, burst}
}

func defaultBurst(bits uint64) uint64 {
	return min(max(bits/8/defaultBursts, leastDefault), maxBurst)
}

// lower is the tighter of two bounds.
func lower(a, b Rate) Rate {
	switch {
	case a.Bits == 0:
		return b
	case b.Bits == 0, a.Bits < b.Bits:
		return a
	case b.Bits < a.Bits:
		return b
	}
	return Rate{a.Bits, min(a.Burst, b.Burst)}
}

// lowerRates is the tighter of two bounds in each direction.
func lowerRates(a, b Rates) Rates { return Rates{lower(a.In, b.In), lower(a.Out, b.Out)} }

// unit is a word behind a number and what one of it is.
type unit struct {
	name string
	size uint64
}

// rateUnits are those of tc(8) that count bits.
func rateUnits() []unit {
	return []unit{{"tbit", 1e12}, {"gbit", 1e9}, {"mbit", 1e6}, {"kbit", 1e3}, {"bit", 1}}
}

// burstUnits are those of tc(8) for sizes: powers of 1024.
func burstUnits() []unit { return []unit{{"gb", 1 << 30}, {"mb", 1 << 20}, {"kb", 1 << 10}, {"b", 1}} }

// rateOf reads a rate as tc(8) writes it, in bits.
func rateOf(s string) (bits uint64, why, hint string) {
	const form = `write a number with kbit, mbit or gbit, such as "100mbit"`
	number, word := splitUnit(s)
	bits, ok := scaled(number, word, rateUnits())
	short, counted := strings.CutSuffix(word, "bps")
	switch {
	case counted && number != "":
		hint = fmt.Sprintf("write %s%sbit for bits", number, short)
		if n, known := scaled(number, short+"bit", rateUnits()); known && n <= maxRate/8 {
			hint += ", or " + rateText(8*n) + " for as many bytes"
		}
		return 0, "counts bytes, as tc reads it", hint
	case !ok:
		return 0, "is no rate", form
	case bits < minRate || bits > maxRate:
		return 0, fmt.Sprintf("is not from %s to %s", rateText(minRate), rateText(maxRate)), form
	}
	return bits, "", ""
}

// burstOf reads a size as tc(8) writes it, in bytes.
func burstOf(s string) (bytes uint64, why, hint string) {
	const form = `write a number with b, kb or mb, such as "64kb": a kb has 1024 bytes, as in tc`
	number, word := splitUnit(s)
	bytes, ok := scaled(number, word, burstUnits())
	switch {
	case !ok:
		return 0, "is no size", form
	case bytes < minBurst || bytes > maxBurst:
		return 0, fmt.Sprintf("is not from %s to %s", burstText(minBurst), burstText(maxBurst)), form
	}
	return bytes, "", ""
}

// splitUnit parts the digits in front from the word behind them, which is in lower case: tc takes either.
func splitUnit(s string) (number, word string) {
	word = strings.TrimLeft(s, "0123456789.")
	return s[:len(s)-len(word)], strings.ToLower(word)
}

// maxDigits keeps each part of a number within 64 bits.
const maxDigits = 15

// scaled is the number in the unit, when it is a whole number of the smallest unit.
func scaled(number, word string, units []unit) (uint64, bool) {
	whole, part, dotted := strings.Cut(number, ".")
	if whole == "" || len(whole) > maxDigits || dotted && part == "" || len(part) > maxDigits {
		return 0, false
	}
	for _, u := range units {
		if u.name != word {
			continue
		}
		n, err := strconv.ParseUint(whole, 10, 64)
		if err != nil || n > math.MaxUint64/2/u.size {
			return 0, false
		}
		n *= u.size
		step := u.size
		for _, c := range strings.TrimRight(part, "0") {
			if c == '.' || step%10 != 0 {
				return 0, false
			}
			step /= 10
			n += uint64(c-'0') * step // #nosec G115 -- a digit
		}
		return n, true
	}
	return 0, false
}

// rateText is a rate in the largest unit of which it is a whole number, "" for none.
func rateText(bits uint64) string { return inUnits(bits, rateUnits()) }

// burstText is the same for a size.
func burstText(bytes uint64) string { return inUnits(bytes, burstUnits()) }

func inUnits(n uint64, units []unit) string {
	for _, u := range units {
		if n != 0 && n%u.size == 0 {
			return strconv.FormatUint(n/u.size, 10) + u.name
		}
	}
	return ""
}
