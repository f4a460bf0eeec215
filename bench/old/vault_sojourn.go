package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/memstore"
)

var dataKey = sojourn.NewKey[string]("data")

// sojournVault goes through the engine, with a clock of its own, so that months pass in a minute.
type sojournVault struct {
	engine *sojourn.Engine
	store  store.Store
	clock  atomic.Int64 // milliseconds
	opened time.Time
}

func openSojournVault() (vault, error) {
	v := &sojournVault{store: memstore.NewLimited(16 << 30), opened: time.Now()}
	v.clock.Store(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli())
	var err error
	v.engine, err = sojourn.New(v.store, sojourn.Options{Now: func() time.Time { return time.UnixMilli(v.clock.Load()) }})
	return v, err
}

const sojournCookie = "__Host-session"

func (v *sojournVault) wait(d time.Duration) { v.clock.Add(d.Milliseconds()) }

// clientOf is where session i comes from: one of 1,000 user agents, and an address of its own.
func clientOf(i int) sojourn.Client {
	return sojourn.Client{IP: randomAddress(rand.New(rand.NewPCG(uint64(i), 7))), UserAgent: userAgents()[i%1000]}
}

func (v *sojournVault) fill(jar *manyCookies, from, to int) error {
	return inParallel(from, to, 1, func(i int) error { return v.create(jar, i) })
}

func (v *sojournVault) create(jar *manyCookies, i int) error {
	ctx := context.Background()
	s := v.engine.Begin(ctx, sojourn.Request{Client: clientOf(i)})
	if err := s.Login(userID(i)); err != nil {
		return err
	}
	if err := dataKey.Set(s, someValue(i)); err != nil {
		return err
	}
	if err := s.Commit(ctx); err != nil {
		return err
	}
	jar.set(i, sojournCookie, s.Token())
	return nil
}

// visit is a request with session i's cookie that reads the session and, if do isn't nil, does something with it.
func (v *sojournVault) visit(jar *manyCookies, i int, do func(*sojourn.Session) error) error {
	ctx := context.Background()
	token := jar.get(i)[len(sojournCookie)+1:]
	s := v.engine.Begin(ctx, sojourn.Request{Session: []string{token}, Client: clientOf(i)})
	if err := s.Load(ctx); err != nil {
		return err
	}
	if s.Subject() == "" {
		return fmt.Errorf("bench: session %d is gone: %q", i, s.EndReason())
	}
	if do != nil {
		if err := do(s); err != nil {
			return err
		}
	}
	if err := s.Commit(ctx); err != nil {
		return err
	}
	if token := s.Token(); token != "" {
		jar.set(i, sojournCookie, token)
	}
	return nil
}

// age rotates, presents the new secret, and presents it again later, which confirms it.
func (v *sojournVault) age(jar *manyCookies, rotations int, progress func(string)) error {
	var rotated atomic.Int64
	for round := range rotations {
		progress(fmt.Sprintf("rotation %d of %d", round+1, rotations))
		v.wait(15 * time.Minute)
		err := inParallel(0, jar.n, 2, func(i int) error {
			return v.visit(jar, i, func(s *sojourn.Session) error {
				rotated.Add(1)
				return s.Rotate()
			})
		})
		if err != nil {
			return err
		}
		for _, later := range []time.Duration{time.Second, 61 * time.Second} {
			v.wait(later)
			var seen atomic.Int64
			err := inParallel(0, jar.n, 2, func(i int) error {
				if seen.Add(1)%250 == 0 { // the engine drops what it notes behind requests rather than keep much of it
					if err := v.engine.Flush(context.Background()); err != nil {
						return err
					}
				}
				return v.visit(jar, i, nil)
			})
			if err != nil {
				return err
			}
			if err := v.engine.Flush(context.Background()); err != nil {
				return err
			}
		}
	}
	return v.checkAge(jar, rotations)
}

// checkAge looks at some sessions, whether every rotation was confirmed.
func (v *sojournVault) checkAge(jar *manyCookies, rotations int) error {
	if rotations == 0 {
		return nil
	}
	ctx := context.Background()
	for i := 0; i < jar.n; i += 2 * max(1, jar.n/2000) {
		infos, _, err := v.engine.List(ctx, userID(i), "", 1)
		if err != nil || len(infos) != 1 {
			return errors.Join(err, fmt.Errorf("bench: session %d is not in its subject's list", i))
		}
		var rec store.Record
		if err := v.store.Get(ctx, "default", infos[0].ID, true, &rec); err != nil {
			return err
		}
		if rec.Secret.ConfirmedAt == 0 || len(rec.Good)+len(rec.Spent) == 0 {
			return fmt.Errorf("bench: session %d isn't rotated %d times: %d good and %d spent secrets, confirmed at %d",
				i, rotations, len(rec.Good), len(rec.Spent), rec.Secret.ConfirmedAt)
		}
	}
	return nil
}

func (v *sojournVault) reader() func(string) bool {
	var found bool
	h := v.engine.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		found = sojourn.From(r.Context()).Subject() != ""
		_, _ = w.Write(ok)
	}))
	return httpReader(h, &found)
}

// finder finds the whole record; the session's ID is the first 16 bytes of its token.
func (v *sojournVault) finder() func(string) bool {
	var rec store.Record
	return func(cookie string) bool {
		var id store.ID
		if _, err := base64.RawURLEncoding.Decode(id[:], []byte(cookie[len(sojournCookie)+1:][:22])); err != nil {
			return false
		}
		return v.store.Get(context.Background(), "default", id, false, &rec) == nil
	}
}

// expiring lets the even sessions idle until 20 seconds before their end; the odd ones are new then, so that reading them is nothing
// but reading: no touch and no rotation is due.
func (v *sojournVault) expiring(jar *manyCookies, n int, progress func(string)) error {
	progress("filling the half that will expire")
	if err := inParallel(0, n, 2, func(i int) error { return v.create(jar, i) }); err != nil {
		return err
	}
	v.wait(sojourn.DefaultPolicy().Login.Idle - 20*time.Second)
	progress("filling the half that stays")
	return inParallel(1, n, 2, func(i int) error { return v.create(jar, i) })
}

// The engine sweeps once a minute, 1024 sessions at a time with a millisecond between.
const (
	engineSweeps = time.Minute
	sweepStep    = 1024
	sweepPause   = time.Millisecond
)

func (v *sojournVault) quiet(d time.Duration) {
	if next := engineSweeps - time.Since(v.opened)%engineSweeps; next < d {
		time.Sleep(next + 5*time.Second)
	}
}

func (v *sojournVault) arm() error {
	v.quiet(15 * time.Second)
	return nil
}

// sweep does what the engine does, at once.
func (v *sojournVault) sweep() (sweepFacts, error) {
	v.wait(25 * time.Second)
	now := store.Time(v.clock.Load())
	var facts sweepFacts
	start := time.Now()
	var err error
	if facts.Ended, err = sweepAll(context.Background(), v.store, now); err != nil {
		return facts, err
	}
	facts.Took = time.Since(start)
	if s, ok := v.store.(interface{ LongestHold() time.Duration }); ok {
		facts.LongestHold = s.LongestHold()
	}
	return facts, nil
}

// inParallel calls do for from, from+step … below to, on two goroutines.
func inParallel(from, to, step int, do func(i int) error) error {
	const workers = 2
	var wg sync.WaitGroup
	errs := make([]error, workers)
	for w := range workers {
		wg.Go(func() {
			for i := from + w*step; i < to && errs[w] == nil; i += workers * step {
				errs[w] = do(i)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
