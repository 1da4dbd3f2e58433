package plan

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/lanhook/lanhook/policy"
)

func (s EnsureForwarding) String() string {
	var l line
	l.addf("host: forward")
	for _, name := range s.Links {
		l.addf("ipv4 on %s", name)
	}
	l.addIf(s.V6, "ipv6")
	return l.String()
}

func (s AddRules) String() string { return rulesText("host: add rules", s.Of) }

func (s DelRules) String() string { return rulesText("host: delete rules", s.Of) }

func (ReleaseRules) String() string { return "host: delete the rules' tables if unused" }

func (s ReservePorts) String() string { return "host: reserve ports " + portList(s.Ports) }

func (s ReleasePorts) String() string { return "host: release ports " + portList(s.Ports) }

func (s SetRate) String() string {
	return fmt.Sprintf("%s: limit %s to %s", s.Side, s.If, rateText(s.Rate))
}

func (s AddGuard) String() string {
	var l line
	l.addf("container: guard %s by table %s", s.If, s.Table)
	l.addIf(s.Spoof, "sending as %s", s.MAC)
	l.addIf(s.Spoof && s.SharedMAC, "as its parent does")
	for _, a := range s.Addresses {
		l.addIf(s.Spoof, "%s", a)
	}
	l.addIf(s.In != policy.Rate{}, "receiving %s", rateText(s.In))
	return l.String()
}

func (s DelGuard) String() string { return "container: delete guard " + s.Table }

func rateText(r policy.Rate) string { return fmt.Sprintf("%d bit/s burst %d bytes", r.Bits, r.Burst) }

func portList(ports []uint16) string {
	var words []string
	for _, p := range ports {
		words = append(words, strconv.Itoa(int(p)))
	}
	return strings.Join(words, ",")
}

func rulesText(what string, all []Rules) string {
	var l line
	l.addf("%s", what)
	for i, r := range all {
		l.addIf(i > 0, ";")
		r.text(&l)
	}
	return l.String()
}

// Lines is a step as people read it: rules on several lines, what they are for first and each kind of them behind four
// spaces, all else on the one line that String gives.
func Lines(s Step) []string {
	switch s := s.(type) {
	case AddRules:
		return rulesLines("host: add rules", s.Of)
	case DelRules:
		return rulesLines("host: delete rules", s.Of)
	}
	return []string{s.String()}
}

func rulesLines(what string, all []Rules) []string {
	var lines []string
	for _, r := range all {
		var l line
		r.text(&l)
		lines = append(lines, what+" "+l.parts[0])
		// What is said of the bridge stays on its line.
		kind := ""
		for _, part := range l.parts[1:] {
			word, _, _ := strings.Cut(part, " ")
			last := len(lines) - 1
			switch {
			case word == "no", word == "not", word == kind && word != "publish":
				lines[last] += " " + part
			default:
				lines, kind = append(lines, "    "+part), word
			}
		}
	}
	return lines
}

func (r Rules) text(l *line) {
	l.addf("for %s on %s %s", r.Port, r.Bridge, r.Gate)
	l.addIf(r.Gate != Open && !r.ICC, "no icc")
	l.addIf(r.Gate != Open && !r.Isolate, "not isolated")
	for _, a := range r.Addresses {
		l.addf("address %s", a)
	}
	for _, a := range r.Masquerade {
		l.addf("masquerade %s", a)
	}
	for _, t := range r.SNAT {
		l.addf("snat %s", t)
	}
	for _, t := range r.DNAT {
		l.addf("dnat %s", t)
	}
	for _, p := range r.Publish {
		l.addf("publish %s", p)
	}
	for _, a := range r.Detour {
		l.addf("detour %s", a)
	}
	for _, a := range r.Unbound {
		l.addf("detour %s but for tcp", a)
	}
	l.addIf(r.Spoof, "spoof-check %s", r.MAC)
	l.addIf(r.Out != policy.Rate{}, "sending %s", rateText(r.Out))
}

// String is the gate as text output names it.
func (g Gate) String() string {
	if words := []string{"open", "nat", "routed", "closed"}; int(g) < len(words) {
		return words[g]
	}
	return "gate " + strconv.Itoa(int(g))
}

// String is the translation as text output has it.
func (t Translation) String() string { return fmt.Sprintf("%s to %s", t.From, t.To) }

// String is the ports as text output has them, such as "0.0.0.0:8080/tcp to 172.30.0.2:80".
func (p Publish) String() string {
	host := netip.AddrPortFrom(p.Addr, p.Host).String()
	to := p.To.String()
	if p.Count > 1 {
		host += fmt.Sprintf("-%d", int(p.Host)+p.Count-1)
		to += fmt.Sprintf("-%d", int(p.To.Port())+p.Count-1)
	}
	return fmt.Sprintf("%s/%s to %s", host, p.Protocol, to)
}
