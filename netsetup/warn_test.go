package netsetup

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestLines(t *testing.T) {
	var many []error
	for i := range maxWarnings + 3 {
		many = append(many, fmt.Errorf("warning %d", i))
	}
	long := "ß" + strings.Repeat("ßa", maxWarning)
	for name, c := range map[string]struct {
		err   error
		count int
		last  string
	}{
		"none":     {nil, 0, ""},
		"two":      {errors.Join(errors.New("a"), errors.New("b")), 2, "b"},
		"as many":  {errors.Join(many[:maxWarnings]...), maxWarnings, fmt.Sprintf("warning %d", maxWarnings-1)},
		"too many": {errors.Join(many...), maxWarnings, "and 4 more, see the log"},
	} {
		t.Run(name, func(t *testing.T) {
			got := lines(c.err)
			last := ""
			if len(got) > 0 {
				last = got[len(got)-1]
			}
			if d := cmp.Diff([]any{c.count, c.last}, []any{len(got), last}); d != "" {
				t.Errorf("number and last line (-want +got):\n%s", d)
			}
		})
	}
	t.Run("a long one", func(t *testing.T) {
		got := lines(errors.New(long))[0]
		text, short := strings.CutSuffix(got, "…")
		if !short || !strings.HasPrefix(long, text) || !utf8.ValidString(got) || len(got) > maxWarning || len(got) < maxWarning-8 {
			t.Errorf("%d bytes: %s", len(got), got)
		}
	})
	t.Run("one without a character", func(t *testing.T) {
		if got := lines(errors.New(strings.Repeat("\xa9", 2*maxWarning)))[0]; got != "…" {
			t.Errorf("got %q", got)
		}
	})
}
