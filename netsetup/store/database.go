package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"runtime/debug"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
	"golang.org/x/sys/unix"
)

// The buckets. They are made with the database.
const (
	records    = "records"
	leases     = "leases"
	sharedUses = "shared"
	interfaces = "interfaces"
	foreign    = "foreign"
)

func bucketNames() []string { return []string{records, leases, sharedUses, interfaces, foreign} }

// access is what a transaction may do.
type access bool

const (
	writable access = true
	readOnly access = false
)

// mapSize is how much address space a database is mapped into at first. bbolt maps anew, within the transaction, when
// it outgrows it; 16 MiB hold some thousand records. It costs neither memory nor time.
const mapSize = 16 << 20

// bboltWait bounds the wait for bbolt's own lock. All of ours hold the lock file, so it is only ever held by a foreign
// program that looks into the database.
const bboltWait = time.Second

// Tx is a transaction. It is used by one goroutine, and only until the function that it was given to returns. What
// its methods return belongs to the caller.
type Tx struct {
	ctx  context.Context //nolint:containedctx // a transaction lives within the one call that has the context
	file string
	// bolt is nil for an empty database that is not there.
	bolt *bolt.Tx
	// taken are the leases taken for records that have not been put yet, by key.
	taken map[string]Lease
	// broken is set when bbolt panicked: nothing more is read or written.
	broken error
}

// transact opens the database, runs fn, commits and closes it. The lock is held.
func (s *Store) transact(ctx context.Context, mode access, fn func(*Tx) error) error {
	// bbolt reads the file through a mapping. In a damaged one it follows offsets to where there is nothing, which
	// would kill the process; this makes it a panic of this goroutine, which guard turns into an error.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))

	t := &Tx{ctx: ctx, file: s.path(databaseName)}
	db, err := t.open(s.options(mode), s.path(databaseName))
	if err != nil {
		return err
	}
	if err = t.begin(db, mode); err != nil {
		return first(err, t.close(db))
	}
	// fn may panic too, and that is not ours to hide: give back what the panic would leave open.
	finished := false
	defer func() {
		if !finished {
			first(t.rollback(), t.close(db)) //nolint:errcheck // the panic is what there is to tell
		}
	}()
	err = t.finish(fn(t), mode)
	finished = true
	return first(err, t.close(db))
}

// handle is an open database and the file below it, which can be closed when bbolt cannot.
type handle struct {
	bolt *bolt.DB
	file *os.File
}

func (s *Store) options(mode access) *bolt.Options {
	return &bolt.Options{
		Timeout: bboltWait,
		// The file grows by what is written, and not by 16 MiB with a sync at a time.
		NoGrowSync:   true,
		NoStatistics: true,
		FreelistType: bolt.FreelistMapType,
		// The list of free pages is written with each commit. Without it, opening would scan the whole file.
		NoFreelistSync:  false,
		ReadOnly:        mode == readOnly,
		InitialMmapSize: mapSize,
		// Nothing of a tmpfs outlives what a sync protects from, and a killed process loses nothing that it wrote.
		NoSync: s.volatile,
	}
}

func (t *Tx) open(options *bolt.Options, path string) (h handle, err error) {
	defer func() {
		if t.broken != nil {
			err = first(err, h.abandon())
		}
	}()
	defer t.guard(&err)
	options.OpenFile = func(path string, flags int, mode os.FileMode) (*os.File, error) {
		fd, openErr := openFile(path, flags, mode)
		if openErr != nil {
			return nil, openErr
		}
		h.file = os.NewFile(uintptr(fd), path)
		return h.file, nil
	}
	h.bolt, err = bolt.Open(path, 0o600, options)
	if err != nil {
		return h, t.boltError("open", err)
	}
	return h, nil
}

func (t *Tx) begin(h handle, mode access) (err error) {
	defer t.guard(&err)
	t.bolt, err = h.bolt.Begin(mode == writable)
	if err != nil {
		return t.boltError("begin to use", err)
	}
	return nil
}

// finish ends a transaction whose function returned fnErr.
func (t *Tx) finish(fnErr error, mode access) error {
	err := fnErr
	if err == nil {
		err = t.broken
	}
	if err == nil && mode == writable {
		err = t.settled()
	}
	if err == nil && mode == writable && t.ctx.Err() != nil {
		err = fileError("commit to", t.file, context.Cause(t.ctx))
	}
	if err != nil || mode == readOnly {
		return first(err, t.rollback())
	}
	return t.commit()
}

func (t *Tx) commit() (err error) {
	defer t.guard(&err)
	if err := t.bolt.Commit(); err != nil {
		return t.boltError("write", err)
	}
	return nil
}

func (t *Tx) rollback() (err error) {
	defer t.guard(&err)
	if err := t.bolt.Rollback(); err != nil && !errors.Is(err, bolterrors.ErrTxClosed) {
		return t.boltError("close", err)
	}
	return nil
}

// abandon gives back what a database holds of the file. bbolt keeps its mutexes after a panic, and its Close would
// wait for them for ever. The mapping stays until the process ends; it keeps the file open, so closing alone would not
// unlock it.
func (h handle) abandon() error {
	if h.file == nil {
		return nil
	}
	return first(unix.Flock(int(h.file.Fd()), unix.LOCK_UN), h.file.Close())
}

// close closes the database.
func (t *Tx) close(h handle) (err error) {
	if t.broken != nil {
		return h.abandon()
	}
	defer t.guard(&err)
	if err := h.bolt.Close(); err != nil {
		return t.boltError("close", err)
	}
	return nil
}

// guard turns a panic of bbolt into an error. It is deferred around each use of bbolt, and not around the function of
// the caller, whose mistakes are not the file's.
func (t *Tx) guard(err *error) {
	cause := recover()
	if cause == nil {
		return
	}
	t.broken = &DamagedError{File: t.file, Err: fmt.Errorf("%v", cause)}
	*err = t.broken
}

func (t *Tx) damaged(bucket string, key []byte, err error) error {
	return &DamagedError{File: t.file, Key: readable(bucket, key), Err: err}
}

func readable(bucket string, key []byte) string { return fmt.Sprintf("%s %q", bucket, key) }

// boltError tells what is wrong with the file's content from what went wrong with the file.
func (t *Tx) boltError(op string, err error) error {
	switch {
	case errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrChecksum),
		errors.Is(err, bolterrors.ErrVersionMismatch):
		return &DamagedError{File: t.file, Err: err}
	}
	return fileError(op, t.file, err)
}

// create makes a database. It comes by its name whole: one that its maker did not finish has the other name.
func (s *Store) create() error {
	path := s.path(newName)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fileError("remove", path, err)
	}
	t := &Tx{ctx: context.Background(), file: path}
	h, err := t.open(s.options(writable), path)
	if err != nil {
		return err
	}
	err = t.begin(h, writable)
	if err == nil {
		err = t.finish(t.makeBuckets(), writable)
	}
	if err = first(err, t.close(h)); err != nil {
		return err
	}
	if err := os.Rename(path, s.path(databaseName)); err != nil {
		return fileError("rename", path, err)
	}
	return nil
}

func (t *Tx) makeBuckets() (err error) {
	defer t.guard(&err)
	for _, name := range bucketNames() {
		if _, err := t.bolt.CreateBucket([]byte(name)); err != nil {
			return t.boltError("write", err)
		}
	}
	return nil
}

// checksumLen is the length of what stands before each value.
const checksumLen = 4

// checksum is over key and value, so that a value behind another key is found too. Which bucket they stand in is told
// by their form. FNV-1a needs no tables, which a CRC would have to make in each process; every change of one byte gives
// another sum, and of other damage all but one in 2³².
func checksum(key, value []byte) []byte {
	sum := fnv.New32a()
	_, _ = sum.Write(key) // a hash never fails
	_, _ = sum.Write(value)
	return sum.Sum(nil)
}

func (t *Tx) bucket(name string) (*bolt.Bucket, error) {
	if t.broken != nil {
		return nil, t.broken
	}
	b := t.bolt.Bucket([]byte(name))
	if b == nil {
		t.broken = &DamagedError{File: t.file, Err: fmt.Errorf("bucket %s is missing", name)}
		return nil, t.broken
	}
	return b, nil
}

// unseal splits a stored value. The value it returns is a copy.
func (t *Tx) unseal(bucket string, key, stored []byte) ([]byte, error) {
	if len(stored) < checksumLen || len(stored) > checksumLen+maxValue {
		return nil, t.damaged(bucket, key, fmt.Errorf("value of %d bytes", len(stored)))
	}
	value := stored[checksumLen:]
	if !slices.Equal(stored[:checksumLen], checksum(key, value)) {
		return nil, t.damaged(bucket, key, errors.New("checksum does not match"))
	}
	return slices.Clone(value), nil
}

func (t *Tx) get(bucket string, key []byte) (value []byte, ok bool, err error) {
	if t.bolt == nil {
		return nil, false, t.broken
	}
	defer t.guard(&err)
	b, err := t.bucket(bucket)
	if err != nil {
		return nil, false, err
	}
	stored := b.Get(key)
	if stored == nil {
		return nil, false, nil
	}
	value, err = t.unseal(bucket, key, stored)
	return value, err == nil, err
}

// next is the first entry at from or behind it, none at the end. An error with a key is of that entry alone.
func (t *Tx) next(bucket string, from []byte) (e entry, err error) {
	if t.bolt == nil {
		return entry{}, t.broken
	}
	defer t.guard(&err)
	b, err := t.bucket(bucket)
	if err != nil {
		return entry{}, err
	}
	key, stored := b.Cursor().Seek(from)
	if key == nil {
		return entry{}, nil
	}
	e.key = slices.Clone(key)
	e.value, err = t.unseal(bucket, key, stored)
	return e, err
}

func (t *Tx) put(bucket string, key, value []byte) (err error) {
	b, err := t.writable(bucket)
	if err != nil {
		return err
	}
	defer t.guard(&err)
	stored := append(checksum(key, value), value...)
	switch old := b.Get(key); {
	case old == nil:
		if err := b.SetSequence(b.Sequence() + 1); err != nil {
			return t.boltError("write", err)
		}
	case bytes.Equal(old, stored):
		// A record that becomes final keeps its leases: the pages on which they stand need not be written anew.
		return nil
	}
	if err := b.Put(key, stored); err != nil {
		return t.boltError("write", err)
	}
	return nil
}

func (t *Tx) remove(bucket string, key []byte) (err error) {
	b, err := t.writable(bucket)
	if err != nil {
		return err
	}
	defer t.guard(&err)
	if b.Get(key) == nil {
		return nil
	}
	if err := first(b.SetSequence(b.Sequence()-1), b.Delete(key)); err != nil {
		return t.boltError("write", err)
	}
	return nil
}

func (t *Tx) writable(bucket string) (b *bolt.Bucket, err error) {
	defer t.guard(&err)
	if t.bolt == nil || !t.bolt.Writable() {
		return nil, fileError("write", t.file, bolterrors.ErrTxNotWritable)
	}
	return t.bucket(bucket)
}
