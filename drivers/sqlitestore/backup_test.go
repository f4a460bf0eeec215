package sqlitestore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn/store"
)

const present = store.Time(1_800_000_000_000)

// session returns a session of a user, created at a time.
func session(n int, subject string, at store.Time) *store.Record {
	rec := &store.Record{Subject: subject, Epoch: 1, CreatedAt: at, LastSeenAt: at, Idle: time.Hour, ExpiresAt: at + 86_400_000, Secret: store.Secret{IssuedAt: at}}
	copy(rec.ID[:], fmt.Sprintf("%016d", n))
	rec.Values = rec.Values.AppendSet(nil, "n", fmt.Appendf(nil, "%d", n))
	return rec
}

// many creates sessions in parallel.
func many(t testing.TB, s store.Store, n int, subject string) {
	t.Helper()
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { create(t, s, session(i, subject, present)) })
	}
	all.Wait()
}

func create(t testing.TB, s store.Store, rec *store.Record) {
	t.Helper()
	if _, err := s.Create(context.Background(), "shop", rec, store.CreateOptions{Now: rec.CreatedAt, Arrived: rec.CreatedAt}); err != nil {
		t.Fatal(err)
	}
}

func openAt(t testing.TB, path string) *Store {
	t.Helper()
	s, err := Open(context.Background(), path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func closeStore(t testing.TB, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func stateOf(s store.Store, rec *store.Record) error {
	var got store.Record
	err := s.Get(context.Background(), "shop", rec.ID, true, &got)
	if err == nil && !got.Equal(rec) {
		return fmt.Errorf("another record: %+v, want %+v", got, *rec)
	}
	return err
}

// A backup that is taken during writes has a state that existed. Sessions are
// created one after the other, so it contains the first n of them.
func TestBackupUnderWrites(t *testing.T) {
	dir := t.TempDir()
	path, dst := filepath.Join(dir, "a.db"), filepath.Join(dir, "backup.db")
	s := openAt(t, path)
	var fill sync.WaitGroup
	for i := range 2000 { // several hundred pages
		fill.Go(func() {
			rec := session(i, "", present)
			rec.Client.UserAgent = strings.Repeat("x", 2000)
			create(t, s, rec)
		})
	}
	fill.Wait()
	stop := make(chan struct{})
	var last int
	var writers sync.WaitGroup
	writers.Go(func() {
		for last = 10_000; ; last++ {
			select {
			case <-stop:
				return
			default:
				create(t, s, session(last, "ada", present))
			}
		}
	})
	var told []int64
	err := Backup(t.Context(), path, dst, func(done, total int64) {
		if done > total {
			t.Errorf("%d of %d pages", done, total)
		}
		told = append(told, done)
	})
	close(stop)
	writers.Wait()
	if err != nil {
		t.Fatal(err)
	}
	if len(told) < 2 {
		t.Errorf("progress was reported %d times", len(told))
	}
	if err := Check(t.Context(), dst, nil); err != nil {
		t.Error(err)
	}
	// The header says that there is no log, so a backup on read-only media can
	// be read.
	if header, err := os.ReadFile(dst); err != nil || header[18] != 1 || header[19] != 1 {
		t.Errorf("the copy needs a log: %v", err)
	}
	b := openAt(t, dst)
	n := 10_000
	for stateOf(b, withRevision(session(n, "ada", present))) == nil {
		n++
	}
	for ; n < last; n++ {
		if err := stateOf(b, session(n, "ada", present)); !errors.Is(err, store.ErrNotFound) {
			t.Fatalf("session %d of %d: %v, and one before it is missing", n, last, err)
		}
	}
}

func withRevision(rec *store.Record) *store.Record {
	rec.Revision = 1
	return rec
}

func TestRestore(t *testing.T) {
	for _, keep := range []bool{false, true} {
		t.Run(fmt.Sprintf("keep=%v", keep), func(t *testing.T) {
			dir := t.TempDir()
			path, backup := filepath.Join(dir, "a.db"), filepath.Join(dir, "backup.db")
			s := openAt(t, path)
			old, ended, ahead := session(1, "ada", present), session(2, "ben", present), session(3, "", present+3_600_000)
			for _, rec := range []*store.Record{old, ended, ahead} {
				create(t, s, rec)
			}
			if err := Backup(t.Context(), path, backup, nil); err != nil {
				t.Fatal(err)
			}
			if _, err := s.End(t.Context(), "shop", ended.ID, store.ReasonLogout, present+1); err != nil {
				t.Fatal(err)
			}
			later := session(4, "ada", present+2)
			create(t, s, later)
			opt := RestoreOptions{KeepSessions: keep, Now: (present + 10).Time()}
			if _, err := Restore(t.Context(), backup, path, opt, nil); !errors.Is(err, ErrInUse) {
				t.Errorf("while it is open: %v", err)
			}
			closeStore(t, s)
			kept, err := Restore(t.Context(), backup, path, opt, nil)
			if err != nil {
				t.Fatal(err)
			}

			s = openAt(t, path)
			want := store.ErrEnded
			if keep {
				want = nil
			}
			for _, rec := range []*store.Record{old, ended, ahead} { // the backup has ended as it was
				if err := stateOf(s, rec); !errors.Is(err, want) {
					t.Errorf("session %v: %v, want %v", rec.ID, err, want)
				}
			}
			if err := stateOf(s, later); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("a session from after the backup: %v", err)
			}
			login := session(5, "ada", present+3_600_001)
			create(t, s, login)
			closeStore(t, s)

			again, err := Restore(t.Context(), backup, path, opt, nil) // in the same second
			if err != nil || again == kept {
				t.Fatalf("again: kept %q, %v", again, err)
			}
			if err := stateOf(openAt(t, kept), later); err != nil {
				t.Errorf("in the file that was replaced: %v", err)
			}
			if err := stateOf(openAt(t, again), withRevision(login)); err != nil {
				t.Errorf("in the one that was replaced then: %v", err)
			}
		})
	}
}

func TestRestoreOnAnEmptyMachine(t *testing.T) {
	dir := t.TempDir()
	s := openAt(t, filepath.Join(dir, "a.db"))
	create(t, s, session(1, "ada", present))
	backup := filepath.Join(dir, "backup.db")
	if err := Backup(t.Context(), s.Path(), backup, nil); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "new", "b.db")
	kept, err := Restore(t.Context(), backup, path, RestoreOptions{KeepSessions: true}, nil)
	if err != nil || kept != "" {
		t.Fatalf("%q, %v", kept, err)
	}
	if err := stateOf(openAt(t, path), withRevision(session(1, "ada", present))); err != nil {
		t.Error(err)
	}
	for _, dir := range []string{dir, filepath.Dir(path)} {
		for _, name := range names(t, dir) {
			if strings.Contains(name, ".part") || strings.Contains(name, ".restoring") {
				t.Errorf("%s was left behind", name)
			}
		}
	}
}

// A store's log may outlive its file, for example if somebody has moved a damaged
// store away. SQLite would write the log into a new file of the same name.
func TestBackupAndRestoreBesideAnotherLog(t *testing.T) {
	for what, copyTo := range map[string]func(source, name string) error{
		"backup": func(source, name string) error { return Backup(t.Context(), source, name, nil) },
		"restore": func(source, name string) error {
			return second(Restore(t.Context(), source, name, RestoreOptions{}, nil))
		},
	} {
		t.Run(what, func(t *testing.T) {
			dir := t.TempDir()
			source, name := filepath.Join(dir, "source.db"), filepath.Join(dir, "a.db")
			filled(t, source, 100)
			s := openAt(t, name)
			create(t, s, session(1, "ada", present))
			log, err := os.ReadFile(name + "-wal")
			if err != nil || len(log) == 0 {
				t.Fatalf("%d bytes, %v", len(log), err)
			}
			closeStore(t, s)
			if err := errors.Join(os.Remove(name), os.WriteFile(name+"-wal", log, 0o600)); err != nil {
				t.Fatal(err)
			}
			if err := copyTo(source, name); err == nil || !strings.Contains(err.Error(), "a.db-wal is the log of a store that is gone") {
				t.Errorf("%v, want a refusal", err)
				if err := Check(t.Context(), name, nil); err != nil {
					t.Error(err)
				}
			}
			if kept, err := os.ReadFile(name + "-wal"); err != nil || len(kept) != len(log) {
				t.Errorf("the log has %d bytes, want %d: %v", len(kept), len(log), err)
			}
			if err := os.Remove(name + "-wal"); err != nil {
				t.Fatal(err)
			}
			if err := copyTo(source, name); err != nil {
				t.Error(err)
			}
			if err := Check(t.Context(), name, nil); err != nil {
				t.Error(err)
			}
		})
	}
}

func names(t *testing.T, dir string) (list []string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

// A failed backup or restore changes nothing, and the error says why.
func TestBackupAndRestoreRefuse(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.db")
	s := openAt(t, path)
	create(t, s, session(1, "ada", present))
	closeStore(t, s)
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte("no database, but long enough for one"), 0o600); err != nil {
		t.Fatal(err)
	}
	damaged := filepath.Join(dir, "damaged.db")
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := 4096; i < len(content); i++ {
		content[i] ^= 0x55
	}
	if err := os.WriteFile(damaged, content, 0o600); err != nil {
		t.Fatal(err)
	}
	before := names(t, dir)

	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range []struct {
		what string
		err  error
		is   error
		says string
	}{
		{"backup over a file", Backup(t.Context(), path, text, nil), nil, "exists: choose another name"},
		{"backup of nothing", Backup(t.Context(), filepath.Join(dir, "none.db"), filepath.Join(dir, "x"), nil), fs.ErrNotExist, "there is no store"},
		{"backup of a text", Backup(t.Context(), text, filepath.Join(dir, "x"), nil), ErrNotDatabase, "choose another file"},
		{"backup into nowhere", Backup(t.Context(), path, filepath.Join(dir, "no", "x"), nil), fs.ErrNotExist, "no such file"},
		{"backup cancelled", Backup(cancelled, path, filepath.Join(dir, "x"), nil), context.Canceled, ""},
		{"restore of a text", second(Restore(t.Context(), text, path, RestoreOptions{}, nil)), ErrNotDatabase, "nothing was changed"},
		{"restore of nothing", second(Restore(t.Context(), filepath.Join(dir, "none.db"), path, RestoreOptions{}, nil)), fs.ErrNotExist, "the backup can't be used, nothing was changed: sqlitestore: " + filepath.Join(dir, "none.db") + ": there is no store"},
		{"restore of a damaged file", second(Restore(t.Context(), damaged, path, RestoreOptions{}, nil)), ErrCorrupt, "nothing was changed"},
		{"check of a damaged file", Check(t.Context(), damaged, nil), ErrCorrupt, "restore"},
		{"check of a directory", Check(t.Context(), dir, nil), nil, "directory"},
	} {
		if c.err == nil || c.is != nil && !errors.Is(c.err, c.is) || !strings.Contains(c.err.Error(), c.says) {
			t.Errorf("%s: %v, want %v and %q", c.what, c.err, c.is, c.says)
		}
	}
	if _, err := Open(t.Context(), text, Options{}); !errors.Is(err, ErrNotDatabase) {
		t.Error(err)
	}
	for _, name := range names(t, dir) {
		if !strings.Contains(strings.Join(before, "\n"), name) && !strings.HasPrefix(name, "damaged.db-") {
			t.Errorf("%s was left behind", name)
		}
	}
	if err := stateOf(openAt(t, path), withRevision(session(1, "ada", present))); err != nil {
		t.Error(err)
	}
}

// A check ends with its context, even during a long statement.
func TestCheckCancelled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	filled(t, path, 1)
	statements(t, path, "DROP VIEW session_list", "DROP TABLE sessions", endless("CREATE VIEW", "x"))
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := Check(ctx, path, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

func second(_ string, err error) error { return err }

// A store may have a name for unfinished copies. It isn't removed as one.
func TestBackupAndRestoreSpareTheirSource(t *testing.T) {
	for suffix, copyTo := range map[string]func(source, name string) error{
		".part": func(source, name string) error { return Backup(t.Context(), source, name, nil) },
		".restoring": func(source, name string) error {
			return second(Restore(t.Context(), source, name, RestoreOptions{}, nil))
		},
		".restoring.part": func(source, name string) error {
			return second(Restore(t.Context(), source, name, RestoreOptions{}, nil))
		},
	} {
		name := filepath.Join(t.TempDir(), "a.db")
		filled(t, name+suffix, 1)
		if err := copyTo(name+suffix, name); err == nil || !strings.Contains(err.Error(), "rename it first") {
			t.Errorf("%s: %v", suffix, err)
		}
		if err := Check(t.Context(), name+suffix, nil); err != nil {
			t.Errorf("%s: the source: %v", suffix, err)
		}
		if _, err := os.Stat(name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: an incomplete copy: %v", suffix, err)
		}
	}
}

// Of two backups to one name, one succeeds and the other is refused.
func TestBackupsToOneName(t *testing.T) {
	dir := t.TempDir()
	s := openAt(t, filepath.Join(dir, "a.db"))
	many(t, s, 500, "ada")
	for i := range 10 {
		dst := filepath.Join(dir, fmt.Sprintf("backup-%d.db", i))
		results := make(chan error)
		for range 2 {
			go func() { results <- Backup(context.Background(), s.Path(), dst, nil) }()
		}
		first, second := <-results, <-results
		if (first == nil) == (second == nil) {
			t.Errorf("%v and %v", first, second)
		}
		if err := Check(t.Context(), dst, nil); err != nil {
			t.Error(err)
		}
	}
}

// A restore also ends a session that a fast clock has dated ahead, and bars no
// logins by it.
func TestRestoreOfASessionAhead(t *testing.T) {
	dir := t.TempDir()
	path, backup := filepath.Join(dir, "a.db"), "/"+filepath.Join(dir, "backup.db") // two slashes
	s := openAt(t, path)
	ahead := session(1, "ada", present+365*86_400_000)
	create(t, s, ahead)
	if err := Backup(t.Context(), path, backup, nil); err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)
	if _, err := Restore(t.Context(), backup, path, RestoreOptions{Now: present.Time()}, nil); err != nil {
		t.Fatal(err)
	}
	s = openAt(t, path)
	if err := stateOf(s, ahead); !errors.Is(err, store.ErrEnded) {
		t.Error(err)
	}
	create(t, s, session(2, "ada", present+1))
}
