// Package sqlitestore keeps sessions in one SQLite file. An acknowledged write
// survives when the process is killed or the power fails, and nobody has to run
// a database server.
//
//	st, err := sqlitestore.Open(ctx, "/var/lib/shop/sojourn.db", sqlitestore.Options{})
//	sessions, err := sojourn.New(nearcache.New(st, nearcache.Options{}), sojourn.Options{})
//
// A write is acknowledged when the log of its transaction is on the disk
// (synchronous=FULL). One goroutine commits all waiting writes in one
// transaction. A read takes about ten microseconds: put a nearcache in front.
//
// # The file
//
// One process at a time has the file open for writing; the next one gets
// [ErrInUse]. Any number may read it meanwhile, as the sqlite3 program does:
//
//	sqlite3 sojourn.db "SELECT * FROM session_list WHERE subject = 'ada'"
//
// Beside it lie its log (-wal), the log's index (-shm), the lock (-lock), and
// room to end sessions on a full disk (-reserve). Don't copy the file while it
// is in use: call [Backup].
//
// The file grows up to [Options].MaxBytes, and shrinks as sessions are removed.
package sqlitestore

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"modernc.org/sqlite"

	"github.com/sojourn-go/sojourn/store"
)

// Errors of a file, for errors.Is. The messages name the file and say what to
// do.
var (
	ErrInUse       = errors.New("in use by another process")
	ErrNotDatabase = errors.New("not a store of Sojourn")
	ErrNewer       = errors.New("written by a newer version of Sojourn")
	ErrCorrupt     = errors.New("damaged")
)

// DefaultMaxBytes is the default of Options.MaxBytes: room for about 60 million
// sessions.
const DefaultMaxBytes = 32 << 30

// Options are the settings of Open. The zero value has good defaults.
type Options struct {
	// MaxBytes is the size of the file, in bytes, above which new sessions get
	// store.ErrFull; anonymous sessions above nine tenths of it. Anonymous
	// sessions also get it while the file system has less than 64 MiB free (a
	// tenth of its size, if that is less), and logins below a quarter of that.
	// 0 means DefaultMaxBytes.
	MaxBytes int64
}

// A Store is a store.Store and a store.Watcher in a file. All methods may be
// called concurrently.
type Store struct {
	path    string
	lock    *lock
	reserve *reserve
	writer  *writer
	readers chan *conn // the free connections for reading; closed by Close
	lent    int        // how many connections there are for reading

	closing  sync.RWMutex // held for reading while a write enters the queue
	closed   atomic.Bool
	ending   chan struct{} // closed when Close begins
	stopped  chan struct{} // closed when the writer has ended
	released chan struct{} // closed when Close is over

	counting chan struct{} // full while a call counts the whole table

	sweeping sync.Mutex
	stages   map[string]int // the next stage of each application's sweep; guarded by sweeping
}

var (
	_ store.Store   = (*Store)(nil)
	_ store.Watcher = (*Store)(nil)
)

// Open opens the store in a file. If there is no file, Open creates it, with
// missing directories, readable for its owner only.
//
// The error is ErrInUse if another process has the store open, ErrNotDatabase
// if the file is something else, ErrNewer if a newer version has written it,
// and ErrCorrupt if it is damaged. Then the file is unchanged.
//
// In the whole process, SQLite then syncs with fdatasync on systems that have
// it (see sqlite.Fdatasync).
func Open(ctx context.Context, path string, opt Options) (*Store, error) {
	return openWith(ctx, path, opt)
}

// openWith is Open with more pragmas for the writer, for tests.
func openWith(ctx context.Context, path string, opt Options, pragmas ...string) (_ *Store, err error) {
	path, err = resolve(path)
	if err != nil {
		return nil, err
	}
	l, err := acquire(path)
	if err != nil {
		return nil, describe(path, err)
	}
	s := &Store{path: path, lock: l, reserve: newReserve(path), counting: make(chan struct{}, 1), ending: make(chan struct{}), stopped: make(chan struct{}), released: make(chan struct{}), stages: map[string]int{}}
	defer func() {
		if err != nil {
			if errors.Is(err, ErrNotDatabase) {
				err = errors.Join(err, l.withdraw())
			}
			err = describe(path, errors.Join(err, l.Close()))
		}
	}()
	_, _ = sqlite.Fdatasync(true)
	if opt.MaxBytes <= 0 {
		opt.MaxBytes = DefaultMaxBytes
	}
	err = s.start(ctx, opt, pragmas)
	if lacksRoom(err) && s.reserve.release() {
		err = s.start(ctx, opt, pragmas)
	}
	if err != nil {
		return nil, err
	}
	go func() {
		defer close(s.stopped)
		s.writer.run()
	}()
	return s, nil
}

// start prepares the file and opens the connections. If it fails, it closes
// them.
func (s *Store) start(ctx context.Context, opt Options, pragmas []string) (err error) {
	if err := prepare(ctx, s.path); err != nil {
		return err
	}
	pragmas = append(writerPragmas(), pragmas...)
	s.writer = &writer{
		open:  func(ctx context.Context) (*conn, error) { return connect(ctx, dsn(s.path, pragmas...)) },
		queue: make(chan *write, queueLength),
		room:  room{dir: filepath.Dir(s.path), max: opt.MaxBytes},

		reserve: s.reserve,

		unmeasured: fewWrites,
	}
	s.writer.left.Store(opt.MaxBytes)
	s.readers, s.lent = make(chan *conn, readers), 0
	defer func() {
		if err != nil {
			err = errors.Join(err, s.closeConnections())
		}
	}()
	if s.writer.conn, err = s.writer.open(ctx); err != nil {
		return err
	}
	if err := s.writer.loadApps(); err != nil {
		return err
	}
	for range readers {
		c, err := connect(ctx, dsn(s.path, readerPragmas()...))
		if err != nil {
			return err
		}
		s.readers <- c
		s.lent++
	}
	if err := s.reserve.open(); err != nil {
		return err
	}
	s.writer.takeReleased()
	s.reserve.refill()
	return nil
}

// busyTimeout is how long a transaction waits for another program that writes
// to the file, such as sqlite3.
const busyTimeout = 5 * time.Second

var busyPragma = fmt.Sprintf("busy_timeout(%d)", busyTimeout.Milliseconds())

// writerPragmas switch automatic checkpoints off: see writer.checkpoint.
func writerPragmas() []string {
	return []string{busyPragma, "auto_vacuum(INCREMENTAL)", "journal_mode(WAL)", "synchronous(FULL)", "wal_autocheckpoint(0)",
		fmt.Sprintf("journal_size_limit(%d)", logLimit), "cache_size(-65536)", "temp_store(MEMORY)"}
}

func readerPragmas() []string {
	return []string{busyPragma, "query_only(1)", "cache_size(-16384)", "temp_store(MEMORY)"}
}

// check returns the error of a call that can't begin.
func (s *Store) check(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.closed.Load() {
		return store.ErrClosed
	}
	return nil
}

// Watch implements store.Watcher.
func (s *Store) Watch(ctx context.Context) (<-chan store.Change, error) {
	if err := s.check(ctx); err != nil {
		return nil, err
	}
	return s.writer.feed.Watch(ctx)
}

// Path returns the file's name, absolute and without symbolic links.
func (s *Store) Path() string { return s.path }

// Close implements store.Store. It waits for writes that have begun, moves the
// log into the file, and releases the file for other processes.
func (s *Store) Close() error {
	s.closing.Lock()
	if s.closed.Swap(true) {
		s.closing.Unlock()
		<-s.released
		return nil
	}
	close(s.ending)
	close(s.writer.queue)
	s.closing.Unlock()
	defer close(s.released)
	<-s.stopped
	s.writer.feed.Close()
	if err := errors.Join(s.closeConnections(), s.lock.Close()); err != nil {
		return describe(s.path, fmt.Errorf("close: %w", err))
	}
	return nil
}

// closeConnections waits for reads that have begun.
func (s *Store) closeConnections() (err error) {
	for range s.lent {
		err = errors.Join(err, (<-s.readers).Close())
	}
	close(s.readers)
	if s.writer.conn != nil {
		err = errors.Join(err, s.writer.conn.Close())
	}
	s.reserve.close()
	return err
}

// Stats describe how full a Store is.
type Stats struct {
	NearlyFull bool // anonymous sessions are refused
	Full       bool // all new sessions are refused: there is no room on the disk, or Options.MaxBytes is reached

	// Reserve is how many bytes are kept to end sessions on a full disk. While
	// it is less than ReserveWanted, the store writes only ends of sessions.
	Reserve, ReserveWanted int64
}

// Stats returns how full the store is now.
func (s *Store) Stats() Stats {
	size, available := diskSpace(filepath.Dir(s.path))
	t := Stats{Reserve: s.reserve.held.Load(), ReserveWanted: s.reserve.spare}
	visitors, logins := diskRoom(size, available)
	left := s.writer.left.Load()
	t.Full = t.Reserve < t.ReserveWanted || logins <= 0 || left <= 0
	t.NearlyFull = t.Full || visitors <= 0 || left <= s.writer.room.max/10
	return t
}
