package main

import (
	"os"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// TestDocs looks that the page of commands and the manual page name every command and every flag.
func TestDocs(t *testing.T) {
	for _, page := range []string{"../docs/commands.md", "../packaging/man/lanhook.8"} {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		dash := "--"
		if strings.HasSuffix(page, ".8") {
			dash = "-"
		}
		var walk func(c *command)
		walk = func(c *command) {
			if !strings.Contains(string(text), c.name()) {
				t.Errorf("%s does not name the command %s", page, c.name())
			}
			if c.flags != nil {
				fs := pflag.NewFlagSet("", pflag.ContinueOnError)
				c.flags(fs)
				fs.VisitAll(func(f *pflag.Flag) {
					if !strings.Contains(string(text), dash+f.Name) {
						t.Errorf("%s does not name the flag --%s of %s", page, f.Name, c.name())
					}
				})
			}
			for _, s := range c.sub {
				walk(s)
			}
		}
		walk((&app{}).root())
	}
}
