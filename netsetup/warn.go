package netsetup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/lanhook/lanhook/netsetup/store"
)

// A record keeps so many warnings of its attach, each of so many bytes: enough for one of each kind and interface, and little
// beside its steps. The log has them all.
const (
	maxWarnings = 16
	maxWarning  = 400
)

// warnings are what the container's owner should know though it is attached, nil for nothing.
func (d *draft) warnings() error {
	return errors.Join(slices.Concat(d.withheld, d.doubts, d.taken, []error{d.silent})...)
}

// lines are the warnings of an error as a record keeps them. Of more than it keeps, the last line says so.
func lines(err error) []string {
	if err == nil {
		return nil
	}
	list := strings.Split(err.Error(), "\n")
	if more := len(list) - maxWarnings + 1; more > 1 {
		list = append(list[:maxWarnings-1], fmt.Sprintf("and %d more, see the log", more))
	}
	for i, line := range list {
		list[i] = cut(line)
	}
	return list
}

// cut is a line as a record keeps it.
func cut(line string) string {
	if len(line) <= maxWarning {
		return line
	}
	return strings.ToValidUTF8(line[:maxWarning-len("…")], "") + "…"
}

// noteUnnamed adds to a record that other containers do not know its name: their files are written when it is final.
func (s *Setup) noteUnnamed(ctx context.Context, ref store.Ref, why error) error {
	ctx, cancel := background(ctx) // the time may have been over for the files
	defer cancel()
	line := cut("other containers do not know its name: " + strings.ReplaceAll(why.Error(), "\n", "; "))
	return s.Store.Update(ctx, func(tx *store.Tx) error {
		rec, ok, err := tx.Record(ref)
		if err != nil || !ok || len(rec.Warnings) > maxWarnings || slices.Contains(rec.Warnings, line) {
			return err
		}
		rec.Warnings = append(rec.Warnings, line)
		return tx.Put(rec)
	})
}
