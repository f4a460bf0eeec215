package sqlitestore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/sojourn-go/sojourn/store"
)

// I11: the file has a limit, its last tenth is for logins, and sessions can
// always be ended.
func TestI11FileIsLimited(t *testing.T) {
	const limit = 4 << 20
	s, err := Open(t.Context(), filepath.Join(t.TempDir(), "a.db"), Options{MaxBytes: limit})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	n := 0
	fill := func(subject string) (last *store.Record) {
		for {
			rec := session(n, subject, present)
			rec.Values = pack("text", `"`+strings.Repeat("x", 3000)+`"`)
			_, err := s.Create(t.Context(), "shop", rec, store.CreateOptions{Now: present, Arrived: present})
			if errors.Is(err, store.ErrFull) {
				return last
			}
			if err != nil {
				t.Fatal(err)
			}
			n++
			last = rec
		}
	}
	visitor := fill("")
	visitors := n
	user := fill("ada")
	if visitors < 500 || n-visitors < visitors/20 {
		t.Errorf("room for %d visitors and then %d logins", visitors, n-visitors)
	}
	smaller := *user
	smaller.Values = pack("n", "1")
	if _, err := s.Update(t.Context(), "shop", &smaller, store.UpdateOptions{Now: present, Arrived: present}); err != nil {
		t.Errorf("an update that makes a session smaller: %v", err)
	}
	larger := *visitor
	larger.Values = pack("text", `"`+strings.Repeat("x", 30_000)+`"`)
	if _, err := s.Update(t.Context(), "shop", &larger, store.UpdateOptions{Now: present, Arrived: present}); !errors.Is(err, store.ErrFull) {
		t.Errorf("an update that makes a session larger: %v", err)
	}
	if _, err := s.End(t.Context(), "shop", visitor.ID, store.ReasonLogout, present); err != nil {
		t.Error(err)
	}
	if err := s.EndAll(t.Context(), "shop", present); err != nil {
		t.Error(err)
	}
	sweep(t, s, present+2*3_600_000)
	create(t, s, session(n, "", present+2*3_600_000))
	if size := fileSize(t, s); size > limit+limit/4 {
		t.Errorf("the file has %d bytes", size)
	}
}

// sweep runs a whole round.
func sweep(t *testing.T, s *Store, now store.Time) (ended []store.Ended) {
	t.Helper()
	for {
		list, done, err := s.Sweep(t.Context(), "shop", now, 1000)
		if err != nil {
			t.Fatal(err)
		}
		if ended = append(ended, list...); done {
			return ended
		}
	}
}

// fileSize returns the size of the file after a checkpoint.
func fileSize(t *testing.T, s *Store) int64 {
	t.Helper()
	err := s.write(t.Context(), func(*tx) error { return nil })
	if err == nil {
		err = s.read(t.Context(), func(c *conn) error {
			_, err := c.first("PRAGMA wal_checkpoint(TRUNCATE)")
			return err
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(s.Path())
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// A day's turnover, compressed: ten times as many sessions come and go as live
// at any time. The file stays about as large as when it was full for the first
// time, and shrinks when the sessions are gone.
func TestTurnover(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a while")
	}
	s := open(t)
	defer s.Close()
	const live, through = 1000, 10_000
	now := store.Time(present)
	step := store.Time(3_600_000 / live) // a session lives for an hour, and its tombstone for another
	ids := make(chan *store.Record, 64)
	done := make(chan error)
	for range 64 {
		go func() {
			for rec := range ids {
				if _, err := s.Create(t.Context(), "shop", rec, store.CreateOptions{Now: rec.CreatedAt, Arrived: rec.CreatedAt}); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	var full, largest int64
	ended := 0
	for i := range through {
		now += step
		ids <- session(i, fmt.Sprintf("user %d", i%100), now)
		if i%200 == 0 {
			ended += len(sweep(t, s, now))
			size := fileSize(t, s)
			if i <= 3*live {
				full = size
			}
			largest = max(largest, size)
		}
	}
	close(ids)
	for range 64 {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	if ended < through-2*live {
		t.Errorf("%d of %d sessions have expired", ended, through)
	}
	if largest > full+full/4 {
		t.Errorf("the file grew from %d to %d bytes", full, largest)
	}
	sweep(t, s, now+3*3_600_000)
	sweep(t, s, now+5*3_600_000)
	if size := fileSize(t, s); size > full/5 {
		t.Errorf("the empty file has %d bytes of %d", size, full)
	}
	if n, err := s.Count(t.Context(), "shop"); err != nil || n != (store.Count{}) {
		t.Errorf("%+v, %v", n, err)
	}
}

// The sweep removes the sessions that EndAll has ended an hour later, whatever
// their deadlines.
func TestEndAllGivesItsSpaceBack(t *testing.T) {
	s := open(t)
	defer s.Close()
	for i := range 1000 {
		rec := session(i, "", present)
		rec.Idle *= 1000
		create(t, s, rec)
	}
	if err := s.EndAll(t.Context(), "shop", present); err != nil {
		t.Fatal(err)
	}
	later := session(5000, "ada", present+1)
	later.Idle *= 1000
	create(t, s, later)
	rows := func() (n int64) {
		if err := s.read(t.Context(), func(c *conn) (err error) {
			n, err = c.integer("SELECT count(*) FROM sessions")
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return n
	}
	sweep(t, s, present+3_600_000)
	if n := rows(); n != 1001 {
		t.Errorf("%d rows within the hour", n)
	}
	sweep(t, s, present+3_600_002)
	if n := rows(); n != 1 {
		t.Errorf("%d rows after it", n)
	}
	later.Revision = 1
	if err := stateOf(s, later); err != nil {
		t.Error(err)
	}
}

// A tombstone stays for its hour, also after an EndAll of an earlier time.
func TestEndAllSparesTombstones(t *testing.T) {
	s := open(t)
	defer s.Close()
	rec := session(1, "", present)
	rec.Idle *= 1000
	create(t, s, rec)
	const now = present + 10*3_600_000
	if _, err := s.End(t.Context(), "shop", rec.ID, store.ReasonLogout, now); err != nil {
		t.Fatal(err)
	}
	if err := s.EndAll(t.Context(), "shop", present); err != nil {
		t.Fatal(err)
	}
	sweep(t, s, now+1)
	if err := stateOf(s, rec); !errors.Is(err, store.ErrEnded) {
		t.Errorf("its tombstone: %v", err)
	}
}

// A round of the sweep also ends in a file that can't give pages back.
func TestSweepWithoutAutoVacuum(t *testing.T) {
	s := open(t)
	many(t, s, 1000, "ada")
	closeStore(t, s)
	statements(t, s.Path(), "PRAGMA journal_mode=DELETE", "PRAGMA auto_vacuum=0", "VACUUM")
	s = openAt(t, s.Path())
	if err := s.EndAll(t.Context(), "shop", present+1); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if _, done, err := s.Sweep(t.Context(), "shop", present+4_000_000, 1000); err != nil {
			t.Fatal(err)
		} else if done {
			return
		}
	}
	t.Error("the round doesn't end")
}

// The limit holds for all writes of one transaction together.
func TestI11GroupIsLimited(t *testing.T) {
	const limit, size = 8 << 20, 256 << 10
	s, err := Open(t.Context(), filepath.Join(t.TempDir(), "a.db"), Options{MaxBytes: limit})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	release := hold(t, s)
	var calls []<-chan error
	for i := range 100 {
		rec := session(i, "ada", present)
		rec.Values = pack("text", `"`+strings.Repeat("x", size)+`"`)
		calls = append(calls, begun(s, func() error {
			_, err := s.Create(t.Context(), "shop", rec, store.CreateOptions{Now: present, Arrived: present})
			return err
		}))
	}
	release()
	taken := 0
	for _, call := range calls {
		if err := <-call; err == nil {
			taken += size
		} else if !errors.Is(err, store.ErrFull) {
			t.Error(err)
		}
	}
	if taken > limit+size {
		t.Errorf("took %d bytes", taken)
	}
}

// Overlapping reads don't prevent the log from starting over.
func TestLogIsBounded(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a while")
	}
	s := open(t)
	defer s.Close()
	create(t, s, session(0, "", present))
	stop := make(chan struct{})
	var reading, writing sync.WaitGroup
	for range 2 * readers {
		reading.Go(func() {
			var rec store.Record
			for {
				select {
				case <-stop:
					return
				default:
					if err := s.Get(context.Background(), "shop", session(0, "", present).ID, true, &rec); err != nil {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	const writers, each = 16, 500 // about 100 MB of pages
	for w := range writers {
		writing.Go(func() {
			for i := range each {
				rec := session(1+w*each+i, "", present)
				rec.Values = pack("text", `"`+strings.Repeat("x", 8000)+`"`)
				create(t, s, rec)
			}
		})
	}
	writing.Wait()
	close(stop)
	reading.Wait()
	if info, err := os.Stat(s.Path() + "-wal"); err != nil || info.Size() > 3*longLog*4096/2 {
		t.Errorf("the log has %d bytes, %v", info.Size(), err)
	}
}
