package storetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"github.com/sojourn-go/sojourn/store"
)

// metamorphicCases play one script of calls twice in one store, in two
// applications. The circumstances differ in a way that must make no difference,
// so the answers and the sessions left must be equal. No model says what they
// are.
//
// All times lie before every deadline, because the contract leaves some choices
// to the store once a session has expired.
var metamorphicCases = []sharedCase{
	// Another application is busy with the same IDs, subjects and idempotency
	// keys.
	{"Metamorphic/Applications", func(c *cluster) {
		rnd := rand.New(rand.NewPCG(seedOf(c.T), 1))
		for i := range c.many(10) {
			ids := someIDs(rnd)
			var alone, together []*player
			for _, name := range []string{"shop", "blog"} {
				s := newScript(rnd, ids, "", "alice", "bob")
				s.insertEndAll(rnd)
				alone = append(alone, &player{script: s, app: fmt.Sprint(name, " alone ", i)})
				together = append(together, &player{script: s, app: fmt.Sprint(name, " ", i)})
			}
			for _, p := range alone {
				c.play(rnd, p)
			}
			c.playTogether(rnd, i%2 == 1, together...)
			for k, p := range together {
				c.wantSame(p, alone[k])
				if n, m := c.count(p.app), c.count(alone[k].app); n != m {
					c.Errorf("Count of %q = %+v, alone it is %+v", p.app, n, m)
				}
			}
		}
	}},
	// Another subject of the same application is busy.
	{"Metamorphic/Subjects", func(c *cluster) {
		rnd := rand.New(rand.NewPCG(seedOf(c.T), 2))
		for i := range c.many(10) {
			app := fmt.Sprint("shop ", i)
			var alone, together []*player
			for _, subject := range []string{"alice", "Alice"} {
				s := newScript(rnd, someIDs(rnd), "", subject)
				alone = append(alone, &player{script: s, app: fmt.Sprint("shop of ", subject, " ", i)})
				together = append(together, &player{script: s, app: app})
			}
			for _, p := range alone {
				c.play(rnd, p)
			}
			c.playTogether(rnd, i%2 == 1, together...)
			var sum store.Count
			for k, p := range together {
				c.wantSame(p, alone[k])
				n := c.count(alone[k].app)
				sum.Sessions, sum.LoggedIn = sum.Sessions+n.Sessions, sum.LoggedIn+n.LoggedIn
			}
			if n := c.count(app); n != sum {
				c.Errorf("Count = %+v, but the subjects alone have %+v", n, sum)
			}
		}
	}},
	// Calls in between read, are refused or repeat earlier calls.
	{"Metamorphic/Bystanders", func(c *cluster) {
		rnd := rand.New(rand.NewPCG(seedOf(c.T), 3))
		for i := range c.many(5) {
			s := newScript(rnd, someIDs(rnd), "", "alice", "bob")
			s.insertEndAll(rnd)
			alone := &player{script: s, app: fmt.Sprint("shop alone ", i)}
			stirred := &player{script: s, app: fmt.Sprint("shop ", i), after: c.stir}
			c.play(rnd, alone)
			c.play(rnd, stirred)
			c.wantSame(stirred, alone)
			if n, m := c.count(stirred.app), c.count(alone.app); n != m {
				c.Errorf("Count = %+v, without bystanders it is %+v", n, m)
			}
		}
	}},
}

// scriptEnd is the earliest deadline of all sessions of scripts.
const scriptEnd = t0 + hour

// A script is a list of calls that can be repeated on any node and in any
// application.
type script struct {
	ids      []store.ID
	subjects []string
	calls    []call
}

// A call returns its answer as text.
type call func(f *fixture, app string) string

func someIDs(rnd *rand.Rand) (ids []store.ID) {
	for range 40 {
		ids = append(ids, idOf(t0, rnd.Uint64(), rnd.Uint64()))
	}
	return ids
}

func newScript(rnd *rand.Rand, ids []store.ID, subjects ...string) *script {
	s := &script{subjects: subjects}
	w := &walk{rnd: rnd, now: t0} // fills records
	created := 0
	for range 60 {
		w.now += store.Time(rnd.IntN(1000))
		now, subject := w.now, pick(rnd, subjects)
		id := pick(rnd, ids[max(0, created-6):created+1]) // a recent ID, or an unused one
		rec := sessionAt(subject, now)
		rec.ID = id
		w.shuffle(rec)
		rec.Idle, rec.ExpiresAt = 1000*time.Hour, scriptEnd
		limit, arrived := w.limit(), now-store.Time(rnd.IntN(1000))
		switch r := rnd.IntN(20); {
		case r < 7 && created < len(ids)-1:
			if rnd.IntN(6) > 0 {
				rec.ID = ids[created]
				created++
			}
			opt := store.CreateOptions{Limit: limit, Arrived: arrived, Now: now}
			if rnd.IntN(4) == 0 {
				opt.Key = subjects[len(subjects)-1] + "'s key " + strconv.Itoa(rnd.IntN(4))
				opt.KeyBody[0] = byte(rnd.IntN(2))
			}
			s.calls = append(s.calls, func(f *fixture, app string) string {
				rec := clone(rec)
				ended, err := f.s.Create(f.ctx, app, rec, opt)
				return f.answer("Create", ended, err) + " " + rec.ID.String() // after ErrRepeated: the ID of the first Create
			})
		case r < 14:
			opt := store.UpdateOptions{Login: rnd.IntN(3) == 0, Limit: limit, Arrived: arrived, Now: now}
			stale := rnd.IntN(6) == 0
			s.calls = append(s.calls, func(f *fixture, app string) string {
				rec := clone(rec)
				if rec.Revision = f.known(app, id).Revision; stale && rec.Revision > 0 {
					rec.Revision--
				}
				ended, err := f.s.Update(f.ctx, app, rec, opt)
				return f.answer("Update", ended, err)
			})
		case r < 16:
			at, client := w.near(), w.client()
			s.calls = append(s.calls, func(f *fixture, app string) string {
				return f.answer("Touch", nil, f.s.Touch(f.ctx, app, id, at, now, client))
			})
		case r < 17:
			confirmation := store.Confirmation{FirstSeenAt: now, ConfirmedAt: now, Until: now + minute}
			s.calls = append(s.calls, func(f *fixture, app string) string {
				return f.answer("Confirm", nil, f.s.Confirm(f.ctx, app, id, f.known(app, id).Secret.Hash, confirmation))
			})
		case r < 19 || subject == "":
			s.calls = append(s.calls, func(f *fixture, app string) string {
				ended, err := f.s.End(f.ctx, app, id, store.ReasonLogout, now)
				return f.answer("End", ended, err)
			})
		default:
			s.calls = append(s.calls, func(f *fixture, app string) string {
				ended, err := f.s.EndSubject(f.ctx, app, subject, id, store.ReasonRevoked, now)
				return f.answer("EndSubject", ended, err)
			})
		}
	}
	s.ids = ids[:created+1]
	return s
}

// insertEndAll adds one EndAll. It doesn't add a second one, because the
// tombstone of a session that two watermarks cover may have the time of either.
func (s *script) insertEndAll(rnd *rand.Rand) {
	n := rnd.IntN(len(s.calls))
	at := t0 + store.Time(500*n) // about the time of the neighbouring calls
	s.calls = slices.Insert(s.calls, n, func(f *fixture, app string) string {
		return f.answer("EndAll", nil, f.s.EndAll(f.ctx, app, at))
	})
}

// known reads a session strictly. If the session does not exist, known returns
// an empty record.
func (f *fixture) known(app string, id store.ID) *store.Record {
	var rec store.Record
	if err := f.s.Get(f.ctx, app, id, true, &rec); err != nil && !errors.Is(err, store.ErrEnded) && !errors.Is(err, store.ErrNotFound) {
		f.Errorf("Get: %v", err)
	}
	return &rec
}

// answer describes the answer to a call, without the application.
func (f *fixture) answer(name string, ended []store.Ended, err error) string {
	ended = slices.Clone(ended)
	for i := range ended {
		ended[i].App = ""
	}
	slices.SortFunc(ended, func(a, b store.Ended) int { return a.ID.Compare(b.ID) })
	words := "unexpected"
	switch {
	case err == nil:
		words = "done"
	case refused(err):
		words = "refused"
	default:
		for _, known := range []error{store.ErrNotFound, store.ErrEnded, store.ErrRepeated, store.ErrKeyReused} {
			if errors.Is(err, known) {
				words = known.Error()
			}
		}
	}
	if words == "unexpected" {
		f.Errorf("%s: %v", name, err)
	}
	return fmt.Sprintf("%s: %s, ended %+v", name, words, ended)
}

// refused reports whether err is one of the errors among which a store may
// choose if several apply.
func refused(err error) bool {
	return slices.ContainsFunc([]error{store.ErrExists, store.ErrBarrier, store.ErrLimit, store.ErrConflict}, func(e error) bool { return errors.Is(err, e) })
}

// A player makes the calls of a script in one application.
type player struct {
	*script
	app     string
	after   func(rnd *rand.Rand, p *player) // called after each call
	made    int
	answers []string
}

func (p *player) step(c *cluster, rnd *rand.Rand) {
	p.answers = append(p.answers, p.calls[p.made](c.on(rnd.IntN(len(c.nodes))), p.app))
	p.made++
	if p.after != nil {
		p.after(rnd, p)
	}
}

// play makes the players' calls in a random interleaving, each on a random
// node.
func (c *cluster) play(rnd *rand.Rand, players ...*player) {
	for players = slices.Clone(players); len(players) > 0; {
		i := rnd.IntN(len(players))
		players[i].step(c, rnd)
		if players[i].made == len(players[i].calls) {
			players = slices.Delete(players, i, i+1)
		}
	}
}

// playTogether runs the players in parallel if sideBySide is set, and otherwise
// like play.
func (c *cluster) playTogether(rnd *rand.Rand, sideBySide bool, players ...*player) {
	if !sideBySide {
		c.play(rnd, players...)
		return
	}
	var calls []func()
	for _, p := range players {
		own := rand.New(rand.NewPCG(rnd.Uint64(), 0))
		calls = append(calls, func() { c.play(own, p) })
	}
	parallel(calls...)
}

// left describes what the player's calls have left in the store.
func (c *cluster) left(p *player) (words []string) {
	for i, id := range p.ids {
		words = append(words, fmt.Sprintf("left: %+v", *c.on(i).known(p.app, id)))
	}
	for i, subject := range p.subjects { // the first one is empty and lists all
		list := slices.DeleteFunc(c.on(i).in(p.app).list(subject, 3, t0), func(r store.Record) bool { return !slices.Contains(p.ids, r.ID) })
		slices.SortFunc(list, func(a, b store.Record) int { return a.ID.Compare(b.ID) })
		words = append(words, fmt.Sprintf("list of %q: %+v", subject, list))
	}
	return words
}

func (c *cluster) count(app string) store.Count {
	n, err := c.s.Count(c.ctx, app)
	c.must(err)
	return n
}

// wantSame checks that two players of one script got the same answers and left
// the same sessions.
func (c *cluster) wantSame(p, alone *player) {
	c.Helper()
	got, want := append(p.answers, c.left(p)...), append(alone.answers, c.left(alone)...)
	for i := range want {
		if got[i] != want[i] {
			c.Fatalf("%q, answer %d (%d calls, then what they left):\n got %s\nwant %s", p.app, i+1, len(p.calls), got[i], want[i])
		}
	}
}

// stir makes some calls that must change nothing.
func (c *cluster) stir(rnd *rand.Rand, p *player) {
	c.Helper()
	for range rnd.IntN(4) {
		on, id, subject := c.on(rnd.IntN(len(c.nodes))), pick(rnd, p.ids), pick(rnd, p.subjects)
		known := c.on(rnd.IntN(len(c.nodes))).known(p.app, id)
		var ended []store.Ended
		var err error
		switch rnd.IntN(7) {
		case 0:
			_ = on.s.Get(c.ctx, p.app, id, false, new(store.Record)) // may lag behind
		case 1:
			on.in(p.app).list(subject, 1+rnd.IntN(5), t0)
		case 2:
			_, err = on.s.Count(c.ctx, p.app)
		case 3:
			loser := clone(known)
			loser.ID, loser.Subject, loser.Revision = id, subject, known.Revision+1
			opt := login(t0 + minute)
			opt.Limit.Max = 1
			if ended, err = on.s.Update(c.ctx, p.app, loser, opt); err == nil {
				c.Fatal("an Update with a wrong revision succeeded")
			}
			err = nil
		case 4:
			if known.End != "" {
				ended, err = on.s.End(c.ctx, p.app, id, store.ReasonTheft, t0+minute)
			}
		case 5:
			ended = on.in(p.app).sweep(scriptEnd - 1)
		case 6:
			_, err = on.s.Barrier(c.ctx, p.app, subject)
		}
		on.wantEnded(ended, err)
	}
}

func pick[T any](rnd *rand.Rand, list []T) T { return list[rnd.IntN(len(list))] }
