package sqlitestore

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn/store"
)

// The writers of the crash test. Each has a subject of its own, and some have
// an application, so the state after a crash depends on no other writer: all
// acknowledged calls are done, and the call that was under way is done
// completely or not at all.
const (
	crashWriters  = 128
	crashLimit    = 4 // sessions of a subject; the next one ends the oldest
	crashEpoch    = store.Time(1_800_000_000_000)
	crashRound    = store.Time(10 * 60 * 1000) // between the first calls of two rounds
	crashMayflies = 8                          // writers whose sessions end with the round
)

func crashApp(w int) string {
	if w%16 == 15 {
		return "app " + strconv.Itoa(w) // EndAll ends the sessions of such a writer
	}
	return "shop"
}

func mayfly(w int) bool { return w < crashMayflies }

func crashSubject(w int) string {
	if mayfly(w) {
		return "" // visitors
	}
	return "subject " + strconv.Itoa(w)
}

// A deed is one call of a writer.
type deed struct {
	Kind string
	ID   store.ID
	At   store.Time
}

func (d deed) String() string { return fmt.Sprintf("%s %v %d", d.Kind, d.ID, d.At) }

// crashValues are the values of a session at a revision.
func crashValues(id store.ID, revision uint64) store.Values {
	sum := sha256.Sum256(binary.BigEndian.AppendUint64(id[:], revision))
	pad := strings.Repeat(string('a'+rune(sum[0]%26)), int(sum[1]))
	v := store.Values(nil).AppendSet(nil, "pad", strconv.AppendQuote(nil, pad))
	return v.AppendSet(nil, "revision", strconv.AppendUint(nil, revision, 10))
}

func crashRecord(w int, d deed) *store.Record {
	rec := &store.Record{
		ID: d.ID, Subject: crashSubject(w), CreatedAt: d.At, LastSeenAt: d.At,
		Idle: 1000 * time.Hour, ExpiresAt: d.At + 1<<40, Values: crashValues(d.ID, 1),
	}
	if mayfly(w) {
		rec.ExpiresAt = d.At + crashRound/2
	}
	rec.Secret.Hash = sha256.Sum256(d.ID[:])
	return rec
}

func crashCreate(d deed) store.CreateOptions {
	return store.CreateOptions{Limit: store.Limit{Max: crashLimit}, Arrived: d.At, Now: d.At, Key: d.ID.String(), KeyBody: sha256.Sum256(d.ID[:])}
}

func init() { children["crash"] = crashChild }

// crashChild opens the store and runs the writers, until it is killed or its
// input ends. It reports on its output what it is about to do, and what it has
// done.
func crashChild(args []string) error {
	path, pragma := args[0], args[2]
	round, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	out := &report{}
	ctx := context.Background()
	out.say("opening")
	s, err := openWith(ctx, path, Options{}, pragma)
	if err != nil {
		return err
	}
	out.say("ready")
	base := crashEpoch + store.Time(round)*crashRound

	var stop atomic.Bool
	var writers sync.WaitGroup
	failed := make(chan error, crashWriters+1)
	sweep := make(chan struct{}, 1)
	for w := range crashWriters {
		writers.Go(func() {
			writer := &crashWriter{w: w, s: s, out: out, now: base, rnd: rand.New(rand.NewPCG(rand.Uint64(), 0))}
			if err := writer.know(ctx); err != nil {
				failed <- err
				return
			}
			for n := 0; !stop.Load(); n++ {
				if err := writer.act(ctx); err != nil {
					failed <- fmt.Errorf("writer %d: %w", w, err)
					return
				}
				if n%4 == 0 && w == 0 {
					select {
					case sweep <- struct{}{}:
					default:
					}
				}
			}
		})
	}
	var sweeper sync.WaitGroup
	sweeper.Go(func() {
		for range sweep {
			ended, _, err := s.Sweep(ctx, "shop", base, 64)
			if err != nil {
				failed <- err
				return
			}
			for _, e := range ended {
				out.say("swept", e.ID)
			}
		}
	})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		failed <- nil
	}()
	err = <-failed
	stop.Store(true)
	writers.Wait()
	close(sweep)
	sweeper.Wait()
	out.say("closing")
	return errors.Join(err, s.Close())
}

// A report is written line by line, so a complete line is in the pipe whatever
// happens to the process.
type report struct{ mu sync.Mutex }

func (r *report) say(args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fmt.Println(args...)
}

// A crashWriter makes one call at a time.
type crashWriter struct {
	w    int
	s    *Store
	out  *report
	rnd  *rand.Rand
	now  store.Time
	mine []*store.Record // live, oldest first
	last deed            // create
}

// know reads the writer's sessions of earlier rounds.
func (w *crashWriter) know(ctx context.Context) error {
	if mayfly(w.w) {
		return nil
	}
	list, _, err := w.s.List(ctx, crashApp(w.w), store.ListOptions{Subject: crashSubject(w.w), Limit: 1000, Now: w.now})
	for i := range list {
		w.mine = append(w.mine, &list[i])
	}
	return err
}

func (w *crashWriter) act(ctx context.Context) error {
	w.now++
	d := deed{At: w.now}
	if n := len(w.mine); n > 0 {
		d.ID = w.mine[w.rnd.IntN(n)].ID
	}
	switch r := w.rnd.IntN(100); {
	case r < 30 || len(w.mine) == 0 || mayfly(w.w):
		d.Kind, d.ID = "create", crashID(w.now, w.rnd)
	case r < 65:
		d.Kind = "update"
	case r < 80:
		d.Kind = "touch"
	case r < 92:
		d.Kind = "end"
	case r < 95:
		d.Kind = "endothers"
	case r < 96 && crashApp(w.w) != "shop":
		d.Kind = "endall"
	default:
		d, d.Kind = w.last, "repeat"
	}
	w.out.say("?", w.w, d)
	if err := w.do(ctx, d); err != nil {
		return fmt.Errorf("%v: %w", d, err)
	}
	w.out.say("!", w.w)
	return nil
}

// crashID returns a UUIDv7, as the engine does.
func crashID(at store.Time, rnd *rand.Rand) (id store.ID) {
	binary.BigEndian.PutUint64(id[:], uint64(at)<<16|0x7000|rnd.Uint64()&0xfff)
	binary.BigEndian.PutUint64(id[8:], rnd.Uint64()>>2|1<<63)
	return id
}

func (w *crashWriter) do(ctx context.Context, d deed) error {
	app, subject := crashApp(w.w), crashSubject(w.w)
	var rec *store.Record
	for _, r := range w.mine {
		if r.ID == d.ID {
			rec = r
		}
	}
	var err error
	switch d.Kind {
	case "create":
		rec := crashRecord(w.w, d)
		if _, err = w.s.Create(ctx, app, rec, crashCreate(d)); err == nil && !mayfly(w.w) {
			w.mine, w.last = append(w.mine, rec), d
			w.mine = w.mine[max(0, len(w.mine)-crashLimit):]
		}
	case "repeat":
		if d.ID.IsZero() {
			return nil
		}
		if _, err = w.s.Create(ctx, app, crashRecord(w.w, d), crashCreate(d)); !errors.Is(err, store.ErrRepeated) {
			return fmt.Errorf("created twice: %w", err)
		}
		err = nil
	case "update":
		rec.Values = crashValues(d.ID, rec.Revision+1)
		_, err = w.s.Update(ctx, app, rec, store.UpdateOptions{Arrived: d.At, Now: d.At})
	case "touch":
		err = w.s.Touch(ctx, app, d.ID, d.At, d.At, store.Client{UserAgent: "touched"})
	case "end":
		_, err = w.s.End(ctx, app, d.ID, store.ReasonLogout, d.At)
		w.keep(func(id store.ID) bool { return id != d.ID })
	case "endothers":
		_, err = w.s.EndSubject(ctx, app, subject, d.ID, store.ReasonRevoked, d.At)
		w.keep(func(id store.ID) bool { return id == d.ID })
	case "endall":
		err = w.s.EndAll(ctx, app, d.At)
		w.keep(func(store.ID) bool { return false })
	}
	return err
}

func (w *crashWriter) keep(stays func(store.ID) bool) {
	var mine []*store.Record
	for _, r := range w.mine {
		if stays(r.ID) {
			mine = append(mine, r)
		}
	}
	w.mine = mine
}

// A ledger is the expected state of one writer's sessions.
type ledger struct {
	w       int
	live    []entry // oldest first
	ended   map[store.ID]store.Time
	barrier store.Time // raised by the last endothers
	last    deed       // create
}

type entry struct {
	ID       store.ID
	Revision uint64
	Seen     store.Time
	Until    store.Time
}

func (l *ledger) clone() *ledger {
	c := *l
	c.live = append([]entry(nil), l.live...)
	c.ended = maps.Clone(l.ended)
	return &c
}

// apply records the effect of a deed.
func (l *ledger) apply(d deed) {
	end := func(stays func(id store.ID) bool) {
		var live []entry
		for _, e := range l.live {
			if stays(e.ID) {
				live = append(live, e)
			} else {
				l.ended[e.ID] = d.At
			}
		}
		l.live = live
	}
	switch d.Kind {
	case "create":
		rec := crashRecord(l.w, d)
		if !mayfly(l.w) && len(l.live) == crashLimit {
			oldest := l.live[0].ID
			end(func(id store.ID) bool { return id != oldest })
		}
		l.live = append(l.live, entry{d.ID, 1, d.At, rec.ExpiresAt})
		l.last = d
	case "update", "touch":
		for i := range l.live {
			if l.live[i].ID != d.ID {
			} else if d.Kind == "touch" {
				l.live[i].Seen = d.At
			} else {
				l.live[i].Revision++
			}
		}
	case "end":
		end(func(id store.ID) bool { return id != d.ID })
	case "endothers":
		end(func(id store.ID) bool { return id == d.ID })
		l.barrier = d.At
	case "endall":
		end(func(store.ID) bool { return false })
	}
}

// differs returns how the store differs from the ledger at a time, or an empty
// text.
func (l *ledger) differs(ctx context.Context, s *Store, now store.Time) string {
	app := crashApp(l.w)
	var rec store.Record
	for _, e := range l.live {
		switch err := s.Get(ctx, app, e.ID, true, &rec); {
		case e.Until <= now: // perhaps already swept
		case err != nil:
			return fmt.Sprintf("session %v: %v", e.ID, err)
		case rec.Revision != e.Revision || rec.LastSeenAt != e.Seen || rec.Subject != crashSubject(l.w) ||
			string(rec.Values) != string(crashValues(e.ID, e.Revision)):
			return fmt.Sprintf("session %v is\n%+v\nand should have revision %d, last seen %d", e.ID, rec, e.Revision, e.Seen)
		}
	}
	for id, at := range l.ended {
		if err := s.Get(ctx, app, id, true, &rec); !gone(err, at, now) {
			return fmt.Sprintf("session %v, which has ended: %v", id, err)
		}
	}
	if mayfly(l.w) {
		return ""
	}
	list, _, err := s.List(ctx, app, store.ListOptions{Subject: crashSubject(l.w), Limit: 1000, Now: now})
	if err != nil || len(list) != len(l.live) {
		return fmt.Sprintf("the subject has %d sessions, want %d; error %v", len(list), len(l.live), err)
	}
	return ""
}

// gone reports whether err is right for a session that ended at a time. Its
// tombstone stays for an hour.
func gone(err error, at, now store.Time) bool {
	return errors.Is(err, store.ErrEnded) || errors.Is(err, store.ErrNotFound) && now.Sub(at) >= store.TombstoneLife
}

// A crashTest is the file, and its expected contents.
type crashTest struct {
	*testing.T
	path    string
	round   int
	ledgers []*ledger
	pending map[int]deed // what was under way when the process was killed
	ended   []ending     // all acknowledged ends
	acks    int
}

type ending struct {
	app string
	id  store.ID
	at  store.Time
}

// TestI6KillNine kills a process with 128 writers again and again, and checks
// that everything it acknowledged is there.
func TestI6KillNine(t *testing.T) {
	t.Parallel()
	needs(t, "sqlite3")
	rounds := 50
	if testing.Short() {
		rounds = 5
	}
	if n, _ := strconv.Atoi(os.Getenv("SOJOURN_SOAK")); n > 0 {
		rounds *= max(n, 10)
	}
	c := &crashTest{T: t, path: filepath.Join(t.TempDir(), "sessions.db"), pending: map[int]deed{}}
	for w := range crashWriters {
		c.ledgers = append(c.ledgers, &ledger{w: w, ended: map[store.ID]store.Time{}})
	}
	began := time.Now()
	var busy int
	for busy < rounds {
		c.round++
		switch rand.IntN(6) {
		case 0: // while it opens the file, perhaps several times
			c.kill("opening", 1)
			for len(c.pending) == 0 && rand.IntN(2) == 0 { // the ledger records one pending call of a writer
				c.kill("opening", 1)
			}
		case 1: // while it closes the file
			c.kill("closing", 100)
			busy++
		default:
			c.kill("", 100+rand.IntN(600))
			busy++
		}
		c.verify()
		if t.Failed() {
			return
		}
	}
	c.verifyEnded(len(c.ended))
	t.Logf("%d rounds, %d acknowledged calls, %d ended sessions in %v", rounds, c.acks, len(c.ended), time.Since(began).Round(time.Millisecond))
}

// kill runs a child, and kills it after a number of acknowledgements, or a few
// milliseconds after the child reached a point.
func (c *crashTest) kill(point string, acks int) {
	pragma := []string{checkpointAlways, "wal_autocheckpoint(20)", "wal_autocheckpoint(200)"}[rand.IntN(3)]
	args := []string{"crash", c.path, strconv.Itoa(c.round), pragma}
	cmd := child(c.Context(), nil, args...)
	if c.round%8 != 0 {
		cmd = plainChild(c, nil, args...)
	}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		c.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		c.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		c.Fatal(err)
	}
	var killed atomic.Bool
	kill := func() { killed.Store(true); cmd.Process.Kill() }
	got := 0
	lines := bufio.NewReader(stdout)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			break // an incomplete line doesn't count
		}
		if c.hear(line) {
			got++
		}
		switch {
		case point != "" && strings.TrimSpace(line) == point:
			time.AfterFunc(time.Duration(rand.IntN(15_000))*time.Microsecond, kill)
		case got != acks:
		case point == "closing":
			stdin.Close()
		case point == "":
			kill()
		}
	}
	var status *exec.ExitError
	if err := cmd.Wait(); err != nil && !(killed.Load() && errors.As(err, &status) && status.ExitCode() == -1) {
		c.Fatalf("round %d: the child: %v", c.round, err)
	}
	c.acks += got
	if point != "opening" && got < acks {
		c.Fatalf("round %d: %d calls were acknowledged, of %d", c.round, got, acks)
	}
}

// hear records a line of the child, and reports whether it is an
// acknowledgement.
func (c *crashTest) hear(line string) bool {
	var d deed
	var w int
	var id string
	switch line[0] {
	case '?':
		if _, err := fmt.Sscanf(line, "? %d %s %s %d", &w, &d.Kind, &id, &d.At); err != nil {
			c.Fatalf("%q: %v", line, err)
		}
		var err error
		if d.ID, err = store.ParseID(id); err != nil {
			c.Fatalf("%q: %v", line, err)
		}
		c.pending[w] = d
	case '!':
		if _, err := fmt.Sscanf(line, "! %d", &w); err != nil {
			c.Fatalf("%q: %v", line, err)
		}
		c.ledgers[w].apply(c.pending[w])
		delete(c.pending, w)
		return true
	case 's':
		if _, err := fmt.Sscanf(line, "swept %s", &id); err != nil {
			c.Fatalf("%q: %v", line, err)
		}
		swept, err := store.ParseID(id)
		if err != nil {
			c.Fatalf("%q: %v", line, err)
		}
		c.ended = append(c.ended, ending{"shop", swept, crashEpoch})
	}
	return false
}

func (c *crashTest) now() store.Time {
	return crashEpoch + store.Time(c.round)*crashRound + crashRound/4
}

// verify opens the file and compares it with the ledgers. For each pending call
// it finds out whether it happened, and updates the ledger.
func (c *crashTest) verify() {
	c.Helper()
	s, err := Open(c.Context(), c.path, Options{})
	if err != nil {
		c.Fatalf("round %d: %v", c.round, err)
	}
	defer closeStore(c, s)
	for w, l := range c.ledgers {
		diff := l.differs(c.Context(), s, c.now())
		if d, ok := c.pending[w]; ok && diff != "" {
			before := diff
			done := l.clone()
			done.apply(d)
			if diff = done.differs(c.Context(), s, c.now()); diff != "" {
				diff = fmt.Sprintf("%v was under way. As if it had not been: %s\nAs if it had been done: %s", d, before, diff)
			}
			*l = *done
		}
		if diff != "" {
			c.Errorf("round %d, writer %d: %s", c.round, w, diff)
		}
		if (w+c.round)%8 == 0 {
			c.verifyRules(s, l)
		}
		for id, at := range l.ended {
			c.ended = append(c.ended, ending{crashApp(w), id, at})
			delete(l.ended, id)
		}
		if mayfly(w) {
			l.live = nil
		}
	}
	clear(c.pending)
	c.verifySome(s, 200)
	wantIntact(c, c.path)
}

// verifyRules checks that the barrier and the idempotency key are still there.
func (c *crashTest) verifyRules(s *Store, l *ledger) {
	if l.barrier != 0 && c.now().Sub(l.barrier) < store.BarrierLife {
		rec := crashRecord(l.w, deed{ID: crashID(c.now(), rand.New(rand.NewPCG(1, 1))), At: c.now()})
		if _, err := s.Create(c.Context(), crashApp(l.w), rec, store.CreateOptions{Arrived: l.barrier, Now: c.now()}); !errors.Is(err, store.ErrBarrier) {
			c.Errorf("round %d, writer %d: the barrier of %d: %v", c.round, l.w, l.barrier, err)
		}
	}
	if l.last.ID.IsZero() || c.now().Sub(l.last.At) >= store.IdempotencyLife {
		return
	}
	if _, err := s.Create(c.Context(), crashApp(l.w), crashRecord(l.w, l.last), crashCreate(l.last)); !errors.Is(err, store.ErrRepeated) {
		c.Errorf("round %d, writer %d: the key of %v: %v", c.round, l.w, l.last, err)
	}
}

// verifySome checks some of the sessions that ended in any round.
func (c *crashTest) verifySome(s *Store, n int) {
	var rec store.Record
	for i := range min(n, len(c.ended)) {
		e := c.ended[i]
		if n < len(c.ended) {
			e = c.ended[rand.IntN(len(c.ended))]
		}
		if err := s.Get(c.Context(), e.app, e.id, true, &rec); !gone(err, e.at, c.now()) {
			c.Errorf("round %d: session %v, which has ended: %v", c.round, e.id, err)
		}
	}
}

func (c *crashTest) verifyEnded(n int) {
	s, err := Open(c.Context(), c.path, Options{})
	if err != nil {
		c.Fatal(err)
	}
	defer closeStore(c, s)
	c.verifySome(s, n)
}
