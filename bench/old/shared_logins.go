package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/store/memstore"
)

// lowLimit is the number of sessions of a subject where the limit is what is measured.
const lowLimit = 3

// openEngines opens nodes with an engine on each. closeAll closes all of them.
func (b *backend) openEngines(ctx context.Context, space string, opt sojourn.Options) (engines []*sojourn.Engine, closeAll func() error, err error) {
	nodes, closeNodes, err := b.openNodes(ctx, space, nodeCount)
	if err != nil {
		return nil, nil, err
	}
	closers := closeList{closeNodes}
	for _, n := range nodes {
		e, err := sojourn.New(n.cache, opt)
		if err != nil {
			return nil, nil, closers.close(err)
		}
		closers.add(func() error { return e.Close(context.Background()) })
		engines = append(engines, e)
	}
	return engines, func() error { return closers.close(nil) }, nil
}

// A limitResult says how often parallel logins left exactly as many sessions as the limit allows.
type limitResult struct {
	Store  string
	Races  int
	Logins int // in each, in parallel over the nodes
	Exact  int
	Least  int // sessions that a race left
	Most   int
}

func (s *sharedRun) limits(ctx context.Context) (err error) {
	s.r.Limits, err = each(ctx, s, s.limitOf)
	return err
}

func (s *sharedRun) limitOf(ctx context.Context, b *backend) (r limitResult, err error) {
	engines, closeEngines, err := b.openEngines(ctx, "races", sojourn.Options{MaxSessions: lowLimit})
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, closeEngines()) }()
	r = limitResult{Store: b.name, Races: s.s.limit, Logins: 64, Least: math.MaxInt}
	for race := range r.Races {
		s.say(fmt.Sprintf("races at the limit in %s: %d of %d", b.name, race+1, r.Races))
		left, err := limitRace(ctx, engines, userID(race), r.Logins)
		if err != nil {
			return r, err
		}
		r.Least, r.Most = min(r.Least, left), max(r.Most, left)
		if left == lowLimit {
			r.Exact++
		}
	}
	return r, nil
}

// limitRace logs a subject in so many times at once, and returns how many sessions live then.
func limitRace(ctx context.Context, engines []*sojourn.Engine, subject string, logins int) (left int, err error) {
	var wg sync.WaitGroup
	errs := make([]error, logins)
	for i := range errs {
		wg.Go(func() { errs[i] = logIn(engines[i%len(engines)], i, "", subject) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return 0, err
	}
	live, _, err := engines[0].List(ctx, subject, "", 1000)
	return len(live), err
}

// logIn logs a browser in: one with the cookie of an anonymous session, or one without.
func logIn(e *sojourn.Engine, client int, visitor, subject string) error {
	ctx := context.Background()
	r := sojourn.Request{Client: clientOf(client)}
	if visitor != "" {
		r.Visitor = []string{visitor}
	}
	v := e.Begin(ctx, r)
	if err := v.Login(subject, sojourn.AMR("pwd")); err != nil {
		return err
	}
	if err := v.Commit(ctx); err != nil {
		return fmt.Errorf("log in: %w", err)
	}
	return nil
}

// visit makes an anonymous session, and returns its token.
func visit(e *sojourn.Engine, client int) (string, error) {
	ctx := context.Background()
	v := e.Begin(ctx, sojourn.Request{Client: clientOf(client)})
	if err := themeKey.Set(v, theme); err != nil {
		return "", err
	}
	if err := v.Commit(ctx); err != nil {
		return "", fmt.Errorf("visit: %w", err)
	}
	return v.Token(), nil
}

// A loginScale says how much is logged in, and how many subjects there are at the limit.
type loginScale struct {
	loadScale
	subjects int
}

// logins measures logins through the engines of all nodes.
func (s *sharedRun) logins(ctx context.Context) error {
	for _, atLimit := range []bool{false, true} {
		if err := s.loginsAt(ctx, atLimit); err != nil {
			return err
		}
	}
	return nil
}

func (s *sharedRun) loginsAt(ctx context.Context, atLimit bool) (err error) {
	opt, space, where := sojourn.Options{}, "logins", "limit not reached"
	if atLimit {
		opt.MaxSessions, space, where = lowLimit, "crowded", "at the limit"
	}
	var closers closeList
	defer func() { err = closers.close(err) }()
	memory := memstore.New()
	closers.add(memory.Close)
	e, err := sojourn.New(memory, opt)
	if err != nil {
		return err
	}
	closers.add(func() error { return e.Close(context.Background()) })
	doors := []*door{{name: fromMemory, engines: []*sojourn.Engine{e}}}
	for _, b := range s.backends {
		engines, closeEngines, err := b.openEngines(ctx, space, opt)
		if err != nil {
			return err
		}
		closers.add(closeEngines)
		doors = append(doors, &door{name: b.name, engines: engines})
	}
	var direct, visitors []load
	for _, d := range doors {
		if atLimit {
			d.subjects = s.s.logins.subjects
			if err := d.fillUp(ctx); err != nil {
				return err
			}
		}
		direct, visitors = append(direct, d.newcomers()), append(visitors, d.visitors())
	}
	for _, kind := range []struct {
		name  string
		loads []load
	}{{"log in without a session", direct}, {"log in as a visitor with a session", visitors}} {
		results, err := compareAllLoads(ctx, kind.name+", "+where, kind.loads, s.s.logins.loadScale, s.say)
		if err != nil {
			return err
		}
		s.r.Logins = append(s.r.Logins, results...)
	}
	return nil
}

// A door is where users log in: at the engines of a store.
type door struct {
	name     string
	engines  []*sojourn.Engine
	subjects int // that log in again and again; 0: each login is another's
	logins   atomic.Int64
	waiting  []string // tokens of visitors who haven't logged in yet
	served   atomic.Int64
}

// next returns a number for the next login.
func (d *door) next() (n int, subject string) {
	n = int(d.logins.Add(1))
	if d.subjects > 0 {
		return n, userID(n % d.subjects)
	}
	return n, userID(n)
}

// fillUp logs every subject in as often as the limit allows.
func (d *door) fillUp(ctx context.Context) error {
	return spread(ctx, 0, d.subjects*lowLimit, sharedFillers, func() func(int) error {
		return func(i int) error { return logIn(d.engines[i%len(d.engines)], i, "", userID(i%d.subjects)) }
	})
}

func (d *door) newcomers() load {
	return load{name: d.name, hand: func(w int) func() error {
		e := d.engines[w%len(d.engines)]
		return func() error {
			n, subject := d.next()
			return logIn(e, n, "", subject)
		}
	}}
}

// visitors log in where they came first.
func (d *door) visitors() load {
	return load{name: d.name,
		stock: func(ctx context.Context, n int) error {
			d.waiting = make([]string, n)
			d.served.Store(0)
			return spread(ctx, 0, n, sharedFillers, func() func(int) error {
				return func(i int) (err error) {
					d.waiting[i], err = visit(d.engines[i%len(d.engines)], i)
					return err
				}
			})
		},
		hand: func(int) func() error {
			return func() error {
				i := int(d.served.Add(1)) - 1
				_, subject := d.next()
				return logIn(d.engines[i%len(d.engines)], i, d.waiting[i], subject)
			}
		},
	}
}

// A subjectScale says how many sessions a subject has that are ended at once, and how often that is done.
type subjectScale struct{ sessions, rounds int }

// A subjectResult says how long it takes to end all sessions of a subject.
type subjectResult struct {
	Store    string
	Sessions int
	Rounds   int
	Took     time.Duration // the median
	Longest  time.Duration
}

func (s *sharedRun) subjects(ctx context.Context) (err error) {
	s.r.Subjects, err = each(ctx, s, s.subjectOf)
	return err
}

func (s *sharedRun) subjectOf(ctx context.Context, b *backend) (r subjectResult, err error) {
	engines, closeEngines, err := b.openEngines(ctx, "subject", sojourn.Options{MaxSessions: -1})
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, closeEngines()) }()
	r = subjectResult{Store: b.name, Sessions: s.s.subject.sessions, Rounds: s.s.subject.rounds}
	var took []float64
	for round := range r.Rounds {
		s.say(fmt.Sprintf("ends of a subject's sessions in %s: %d of %d", b.name, round+1, r.Rounds))
		err := spread(ctx, 0, r.Sessions, sharedFillers, func() func(int) error {
			return func(i int) error { return logIn(engines[i%len(engines)], i, "", subject) }
		})
		if err != nil {
			return r, err
		}
		time.Sleep(2 * time.Millisecond) // a login of the same millisecond would count as under way
		start := time.Now()
		n, err := engines[0].EndSubject(ctx, subject, sojourn.ID{})
		d := time.Since(start)
		if err != nil || n != r.Sessions {
			return r, errors.Join(err, fmt.Errorf("ended %d of %d sessions", n, r.Sessions))
		}
		took = append(took, float64(d))
		r.Longest = max(r.Longest, d)
		time.Sleep(2 * time.Millisecond) // its barrier refuses those
	}
	r.Took = time.Duration(quantile(took, 0.5))
	return r, nil
}
