package redisstore

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn/internal/servertest"
	"github.com/sojourn-go/sojourn/store"
)

// setUser creates a user with the rights that docs/stores.md lists, and more.
func setUser(t *testing.T, r *servertest.RedisServer, password string, more ...string) {
	t.Helper()
	page, err := os.ReadFile("../../docs/stores.md")
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`(?m)^ACL SETUSER .*`).FindString(string(page))
	if line == "" {
		t.Fatal("docs/stores.md doesn't list the rights")
	}
	command := strings.Fields(strings.Replace(line, "on >password", "reset on >"+password, 1))
	if _, err := r.Do(append(command, more...)...); err != nil {
		t.Fatalf("%s: %v", line, err)
	}
}

// TestCredentials: when a password has changed, the next connection uses the
// new one. That includes the feed's connections.
func TestCredentials(t *testing.T) {
	t.Parallel()
	r := servertest.Redis(t, servertest.RedisOptions{})
	setUser(t, r, "first")
	var password atomic.Value
	password.Store("first")
	s := openAt(t, r.URL(), Options{Prefix: "sojourn", Password: "wrong", Credentials: func(ctx context.Context) (string, string, error) {
		if _, ok := ctx.Deadline(); !ok {
			t.Error("nothing bounds the call")
		}
		return "sojourn", password.Load().(string), nil
	}})
	watch(t, s)
	rec := create(t, s, session("ada"))
	password.Store("second")
	setUser(t, r, "second")
	if _, err := r.Do("CLIENT", "KILL", "USER", "sojourn"); err != nil {
		t.Fatal(err)
	}
	if err := getSoon(t, s, rec.ID); err != nil {
		t.Errorf("Get: %v", err)
	}
	soon(t, "heartbeats", func() bool { return s.Beat(t.Context(), 1) == nil })
}

// TestDocumentedRights: a user with the rights that the docs list, and no
// others, can do everything.
func TestDocumentedRights(t *testing.T) {
	t.Parallel()
	r := servertest.Redis(t, servertest.RedisOptions{})
	setUser(t, r, secret)
	s := openAt(t, strings.Replace(r.URL(), "redis://", "redis://sojourn:"+secret+"@", 1), Options{Prefix: "sojourn"})
	ctx := t.Context()
	watch(t, s)
	check := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	rec := create(t, s, session("ada"))
	check("Get", s.Get(ctx, app, rec.ID, true, rec))
	_, err := s.Update(ctx, app, rec, store.UpdateOptions{Login: true, Arrived: t0, Now: t0, Limit: store.Limit{Max: 2}})
	check("Update", err)
	check("Touch", s.Touch(ctx, app, rec.ID, t0+5, t0, rec.Client))
	check("Confirm", s.Confirm(ctx, app, rec.ID, rec.Secret.Hash, store.Confirmation{FirstSeenAt: t0, ConfirmedAt: t0}))
	_, _, err = s.List(ctx, app, store.ListOptions{Now: t0, Limit: 10})
	check("List", err)
	_, _, err = s.List(ctx, app, store.ListOptions{Now: t0, Limit: 10, Subject: "ada"})
	check("List of a subject", err)
	_, err = s.Count(ctx, app)
	check("Count", err)
	_, err = s.End(ctx, app, rec.ID, store.ReasonLogout, t0)
	check("End", err)
	_, err = s.EndSubject(ctx, app, "ada", store.ID{}, store.ReasonRevoked, t0)
	check("EndSubject", err)
	check("EndAll", s.EndAll(ctx, app, t0))
	sweepAll(t, s, t0+2*hour)
	check("Beat", s.Beat(ctx, 1))
	if list := s.Warnings(); len(list) > 0 {
		t.Errorf("%+v", list)
	}
}

// TestWarnings: the store notices a policy that drops keys, if it is set while
// the store serves, and a user who may not listen. It reports each once, and no
// longer than it is true.
func TestWarnings(t *testing.T) {
	t.Parallel()
	r := servertest.Redis(t, servertest.RedisOptions{})
	setUser(t, r, secret)
	var log safeBuffer
	s := openAt(t, strings.Replace(r.URL(), "redis://", "redis://sojourn:"+secret+"@", 1), Options{Prefix: "sojourn", Logger: slog.New(slog.NewTextHandler(&log, nil))})
	do := func(command ...string) {
		t.Helper()
		if _, err := r.Do(command...); err != nil {
			t.Fatal(err)
		}
	}
	has := func(code string) func() bool {
		return func() bool {
			for _, w := range s.Warnings() {
				if w.Code == code && w.Text != "" && !strings.Contains(w.Text, "\n") {
					return true
				}
			}
			return false
		}
	}
	not := func(f func() bool) func() bool { return func() bool { return !f() } }
	do("CONFIG", "SET", "maxmemory", "1gb")
	do("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
	soon(t, "a warning of the policy", has("eviction"))
	do("CONFIG", "SET", "maxmemory-policy", "noeviction")
	soon(t, "no warning of the policy", not(has("eviction")))

	setUser(t, r, secret, "-client|tracking")
	if _, err := s.Watch(t.Context()); err == nil || errors.Is(err, store.ErrClosed) {
		t.Errorf("Watch: %v", err)
	}
	soon(t, "a warning of the right", has("tracking"))
	_, _ = s.Watch(t.Context())
	setUser(t, r, secret)
	soon(t, "no warning of the right", func() bool {
		_, err := s.Watch(t.Context())
		return err == nil && !has("tracking")()
	})
	for _, word := range []string{"allkeys-lru", "let the change feed listen"} {
		said := 0
		for line := range strings.Lines(log.String()) {
			if strings.Contains(line, "level=WARN") && strings.Contains(line, word) {
				said++
			}
		}
		if said != 1 {
			t.Errorf("%d warnings say %q: %s", said, word, log.String())
		}
	}
}

func soon(t *testing.T, what string, f func() bool) {
	t.Helper()
	for began := time.Now(); !f(); time.Sleep(20 * time.Millisecond) {
		if time.Since(began) > 30*time.Second {
			t.Fatalf("no %s within 30 s", what)
		}
	}
}
