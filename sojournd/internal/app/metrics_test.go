package app

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/http/httptest"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/drivers/sqlitestore"
	"github.com/sojourn-go/sojourn/sojournd/internal/config"
	"github.com/sojourn-go/sojourn/sojournd/internal/history"
	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/driver"
	"github.com/sojourn-go/sojourn/store/memstore"
	"github.com/sojourn-go/sojourn/store/nearcache"
)

// The documentation lists every metric with its labels, and no others.
func TestMetricsAreDocumented(t *testing.T) {
	docs, err := os.ReadFile("../../../docs/server.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]string{}
	for _, m := range regexp.MustCompile("`(sojourn_[a-z_]+)(?:\\{([a-z,]+)\\})?`").FindAllStringSubmatch(string(docs), -1) {
		documented[m[1]] = m[2]
	}
	there := exported(t)
	maps.DeleteFunc(there, func(name, _ string) bool { return !strings.HasPrefix(name, "sojourn_") })
	if !maps.Equal(there, documented) {
		for _, name := range slices.Sorted(maps.Keys(there)) {
			if labels, ok := documented[name]; !ok || labels != there[name] {
				t.Errorf("docs/server.md lacks %s{%s}", name, there[name])
			}
		}
		for name := range documented {
			if _, ok := there[name]; !ok {
				t.Errorf("docs/server.md has %s, which isn't there", name)
			}
		}
	}
}

// everything returns a store that has all that metrics tell about one.
func everything(cache *nearcache.Cache) *openedStore {
	return &openedStore{Store: cache, cache: cache, clockOffset: func() time.Duration { return 0 }, room: func() (s sqlitestore.Stats) { return s }, warnings: worried}
}

// Counters for alerts exist before the first event, also for an application
// that a reload adds. Events increase them.
func TestMetricsBeginAtZero(t *testing.T) {
	s := &server{level: new(slog.LevelVar), log: slog.New(slog.DiscardHandler), store: &openedStore{Store: memstore.New()}}
	read := func(apps string) *config.Config {
		t.Helper()
		c, err := config.Read("sojourn.yaml", []byte("store: 'memory:'\napplications: ["+apps+"]\n"), nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	c := read("{name: shop}")
	if err := s.build(c, nil); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := errors.Join(s.closeAll(t.Context()), s.store.Close()); err != nil {
			t.Error(err)
		}
	}()
	scrape := func() string {
		out := httptest.NewRecorder()
		s.metrics.handler.ServeHTTP(out, httptest.NewRequest("GET", "/metrics", nil))
		return out.Body.String()
	}
	for _, apps := range []string{"{name: shop}", "{name: shop}, {name: blog}"} {
		c = read(apps)
		if err := s.apply(c); err != nil {
			t.Fatal(err)
		}
		metrics := scrape()
		for i := range c.Applications {
			app := `{app="` + c.Applications[i].Name + `"`
			for _, want := range []string{
				"sojourn_sessions_ended_total" + app + `,reason="theft"} 0`, "sojourn_tokens_refused_total" + app + `,refusal="former"} 0`,
				"sojourn_tokens_refused_total" + app + `,refusal="throttled"} 0`, "sojourn_sessions_created_total" + app + `,kind="anonymous"} 0`,
				"sojourn_logins_refused_total" + app + `,reason="limit"} 0`,
				"sojourn_rotations_total" + app + `} 0`, "sojourn_logins_total" + app + `,kind="elevated"} 0`, `sojourn_store_errors_total{call="sweep"} 0`,
			} {
				if !strings.Contains(metrics, want+"\n") {
					t.Errorf("with %s no %s", apps, want)
				}
			}
		}
	}
	series := strings.Count(scrape(), "\nsojourn_")
	for _, e := range []sojourn.Event{
		{Kind: sojourn.EventEnded, Reason: sojourn.ReasonTheft}, {Kind: sojourn.EventEndedAll}, {Kind: sojourn.EventRefused, Refusal: sojourn.RefusedFormer},
		{Kind: sojourn.EventThrottled}, {Kind: sojourn.EventAuthenticated}, {Kind: sojourn.EventRotated}, {Kind: sojourn.EventCreated},
	} {
		e.App = "shop"
		s.metrics.count(e)
	}
	metrics := scrape()
	if !strings.Contains(metrics, `sojourn_sessions_ended_total{app="shop",reason="theft"} 1`) || strings.Count(metrics, "\nsojourn_") != series {
		t.Errorf("an event counts elsewhere:\n%s", metrics)
	}
}

// What the metrics count is in the console's history, too: events, checks, calls
// of the store, and logins that it refused, with their subject.
func TestHistoryIsFed(t *testing.T) {
	s := &server{level: new(slog.LevelVar), log: slog.New(slog.DiscardHandler), store: &openedStore{Store: memstore.New(), warnings: worried}}
	c, err := config.Read("sojourn.yaml", []byte("store: 'memory:'\nconsole: {listen: '127.0.0.1:0'}\napplications: [{name: shop, max_sessions: 1, over_limit: refuse}]\n"), nil, nil)
	if err == nil {
		err = s.build(c, nil)
	}
	if err == nil {
		err = s.apply(c)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := errors.Join(s.closeAll(t.Context()), s.store.Close()); err != nil {
			t.Error(err)
		}
	}()
	shop := s.engines()["shop"]
	for _, want := range []error{nil, sojourn.ErrLimit} {
		one := shop.Begin(t.Context(), sojourn.Request{Client: sojourn.Client{IP: netip.MustParseAddr("192.0.2.7")}})
		if err := one.Login("anna"); err != nil {
			t.Fatal(err)
		}
		if err := one.Commit(t.Context()); !errors.Is(err, want) {
			t.Fatalf("%v, want %v", err, want)
		}
		one.Finish()
	}
	if err := shop.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.metrics.check("shop", 200, time.Millisecond)
	s.metrics.history.Count(t.Context())
	s.metrics.history.Tick()
	f := s.metrics.history.Read("shop", history.Live)
	p := f.Points[len(f.Points)-1]
	if p.Created != [2]uint32{1, 0} || p.Barred != [2]uint32{1, 0} || p.Checks.N != 1 || p.LoggedIn != 1 || p.Anonymous != 0 || f.Node[len(f.Node)-1].Store.N == 0 || len(f.Health.Warnings) != 1 {
		t.Errorf("the history has %+v, %+v", p, f)
	}
	list := s.metrics.history.Incidents("shop")
	if len(list) != 1 || list[0].Kind != history.Limit || list[0].Subject != "anna" || list[0].Client.IP != netip.MustParseAddr("192.0.2.7") {
		t.Errorf("the incidents are %+v", list)
	}
}

// However often the metrics are read, counting takes at most a fiftieth of the
// time.
func TestCountingIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		counted := 0
		st := driver.Intercept(memstore.New(), func(ctx context.Context, c driver.Call) driver.Result {
			if c.Op != driver.Count {
				return c.Do(ctx)
			}
			counted++
			time.Sleep(time.Second)
			return driver.Result{Count: store.Count{Sessions: 7, LoggedIn: 5}}
		})
		e, err := sojourn.New(st, sojourn.Options{App: "shop"})
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := errors.Join(e.Close(t.Context()), st.Close()); err != nil {
				t.Error(err)
			}
		}()
		l := &live{engines: func() map[string]*sojourn.Engine { return map[string]*sojourn.Engine{"shop": e} }}
		for began := time.Now(); time.Since(began) < 100*time.Second; time.Sleep(5 * time.Second) {
			found := make(chan prometheus.Metric, 10)
			l.Collect(found)
			if len(found) != 2 {
				t.Fatalf("%d metrics, want those of the last count", len(found))
			}
		}
		if counted != 2 {
			t.Errorf("counted %d times in 100 seconds, want twice", counted)
		}
	})
}

// An error counts only if the store did not answer.
func TestStoreErrors(t *testing.T) {
	for _, err := range []error{nil, store.ErrNotFound, store.ErrEnded, store.ErrConflict, store.ErrLimit, store.ErrCursor, store.ErrRepeated, context.Canceled} {
		if failed(err) {
			t.Errorf("%v counts", err)
		}
	}
	for _, err := range []error{errors.New("broken"), store.ErrFull, store.ErrUncertain, store.ErrClosed, context.DeadlineExceeded} {
		if !failed(err) {
			t.Errorf("%v doesn't count", err)
		}
	}
	if m := newMetrics(&openedStore{Store: memstore.New()}, nil); m.ping(t.Context()) != nil {
		t.Error("a good store isn't ready")
	}
	closed := memstore.New()
	_ = closed.Close()
	m := newMetrics(&openedStore{Store: closed}, nil)
	if err := m.ping(t.Context()); err == nil {
		t.Error("a closed store is ready")
	}
	if _, ok := m.store().(store.Watcher); !ok {
		t.Error("the feed was lost")
	}
}
