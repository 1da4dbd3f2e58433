package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/lanhook/lanhook/policy/request"
)

// DeniedError is a refusal by the policy.
type DeniedError struct {
	// Rule is the rule that matched, "" when none did.
	Rule string
	// What is the annotation or thing that was asked for.
	What string
	// Why is the reason, in words.
	Why string
	// Advice says what would help, "" for nothing. It is what Hint returns.
	Advice string
}

// Error is `io.lanhook.network=lan: rule "web" does not allow network lan`, on one line.
func (e *DeniedError) Error() string { return e.What + ": " + e.Why }

// Hint says what would help, "" for nothing.
func (e *DeniedError) Hint() string { return e.Advice }

// asked is one thing that is asked for under a rule.
type asked struct {
	rule *Rule
	what string
}

func (k asked) deny(advice, format string, args ...any) error {
	e := &DeniedError{What: oneLine(k.what), Why: oneLine(fmt.Sprintf(format, args...)), Advice: oneLine(advice)}
	if k.rule != nil {
		e.Rule = k.rule.Name
	}
	return e
}

// forbid is the refusal of something that the rule would have to grant.
func (k asked) forbid(advice, format string, args ...any) error {
	return k.deny(advice, "rule %s does not allow %s", quoted(k.rule.Name), fmt.Sprintf(format, args...))
}

// allowed is advice about what a rule grants instead.
func allowed(key string, granted []string) string {
	if len(granted) == 0 {
		return "the rule has no " + key
	}
	const most = 8
	if len(granted) > most {
		return "it allows " + strings.Join(granted[:most], ", ") + ", …"
	}
	return "it allows " + strings.Join(granted, ", ")
}

// whatOf names an attachment by its annotation.
func whatOf(a request.Attachment) string {
	switch {
	case a.Link != nil:
		return fmt.Sprintf("%s=driver=%.40s", a.Key, a.Link.Driver)
	case a.Network != "":
		return fmt.Sprintf("%s=%.80s", a.Key, a.Network)
	}
	return a.Key
}

// seen is what the rules compare of a subject, for advice. Of its annotations these are the ones that some rule names.
func (p *Policy) seen(s Subject) string {
	words := []string{fmt.Sprintf("id %s", quoted(s.ID))}
	for _, w := range []struct{ name, value string }{
		{"engine", s.Engine},
		{"namespace", s.Namespace},
		{"cgroup", s.CGroup},
	} {
		if w.value == "" {
			words = append(words, "no "+w.name)
			continue
		}
		words = append(words, fmt.Sprintf("%s %.200q", w.name, w.value))
	}
	keys := map[string]bool{}
	for i := range p.Rules {
		for key := range p.Rules[i].Match.Annotations {
			keys[key] = true
		}
	}
	const most = 4
	for i, key := range slices.Sorted(maps.Keys(keys)) {
		value, has := s.Annotations[key]
		switch {
		case i == most:
			words = append(words, "…")
		case i > most:
		case has:
			words = append(words, fmt.Sprintf("annotation %.80s=%.80q", key, value))
		default:
			words = append(words, fmt.Sprintf("no annotation %.80s", key))
		}
	}
	return "the rules see " + strings.Join(words, ", ")
}
