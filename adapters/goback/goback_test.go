package goback_test

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/adapters/goback"
	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/driver"
	"github.com/sojourn-go/sojourn/store/memstore"
)

var (
	ctx      = context.Background()
	items    = sojourn.NewKey[int]("items")
	returned = sojourn.NewKey[time.Time]("sojourn.returned")
)

func TestTake(t *testing.T) {
	st := memstore.New()
	e := sojourn.Must(sojourn.New(st, sojourn.Options{}))
	t.Cleanup(func() { e.Close(ctx); st.Close() })
	s := e.Begin(ctx, sojourn.Request{})
	if err := s.Login("ada", sojourn.Remember()); err != nil {
		t.Fatal(err)
	}
	if err := items.Set(s, 3); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	token := s.Token()
	// take returns what a request with the token hands back, and its cookies.
	take := func(token string) (*goback.Session, string) {
		t.Helper()
		s := e.Begin(ctx, sojourn.Request{Session: []string{token}})
		back, err := goback.Take(s)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Commit(ctx); err != nil {
			t.Fatal(err)
		}
		return back, strings.Join(s.SetCookies(), "\n")
	}
	want := &goback.Session{Subject: "ada", Remembered: true, Values: map[string]any{"items": 3}}
	for i := range 3 { // the answers to the first two got lost
		back, cookies := take(token)
		if !reflect.DeepEqual(back, want) || !strings.Contains(cookies, "__Host-session=; Max-Age=0") || strings.Contains(cookies, token) {
			t.Errorf("%d: %+v, cookies %s", i, back, cookies)
		}
	}
	if back, cookies := take(strings.Repeat("A", 64)); back != nil || cookies != "" {
		t.Errorf("a foreign token: %+v %s", back, cookies)
	}
	if back, cookies := take(""); back != nil || cookies != "" {
		t.Errorf("an empty token: %+v %s", back, cookies)
	}

	// A copy of the token that is used later gets nothing, and ends the session.
	s = e.Begin(ctx, sojourn.Request{Session: []string{token}})
	if err := returned.Set(s, time.Now().Add(-2*time.Minute)); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	if back, _ := take(token); back != nil {
		t.Errorf("%+v", back)
	}
	if n, _, _ := e.Count(ctx); n != 0 {
		t.Errorf("%d sessions are left", n)
	}
}

// A session whose end this process doesn't know yet, because its cache hasn't
// heard of it, isn't handed back.
func TestTakeReadsTheStore(t *testing.T) {
	st := memstore.New()
	cached := make(map[sojourn.ID]store.Record)
	e := sojourn.Must(sojourn.New(driver.Intercept(st, func(ctx context.Context, c driver.Call) driver.Result {
		was, known := cached[c.ID]
		if c.Op == driver.Get && !c.Strict && known {
			*c.Record = was
			c.Record.Cached = true
			return driver.Result{}
		}
		return c.Do(ctx)
	}), sojourn.Options{}))
	t.Cleanup(func() { e.Close(ctx); st.Close() })
	s := e.Begin(ctx, sojourn.Request{})
	if err := errors.Join(s.Login("ada"), s.Commit(ctx)); err != nil {
		t.Fatal(err)
	}
	request := sojourn.Request{Session: []string{s.Token()}}
	confirmed := e.Begin(ctx, request)
	if err := errors.Join(confirmed.Load(ctx), confirmed.Commit(ctx)); err != nil {
		t.Fatal(err)
	}
	var rec store.Record
	if err := st.Get(ctx, "default", s.ID(), true, &rec); err != nil {
		t.Fatal(err)
	}
	if _, err := e.EndSubject(ctx, "ada", sojourn.ID{}); err != nil {
		t.Fatal(err)
	}
	cached[rec.ID] = rec
	if s := e.Begin(ctx, request); s.Subject() != "ada" {
		t.Fatal("the cache isn't asked")
	}
	if back, err := goback.Take(e.Begin(ctx, request)); back != nil || err != nil {
		t.Errorf("%+v, %v", back, err)
	}
}
