package pgstore

import (
	"context"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sojourn-go/sojourn/store"
)

// fill inserts n sessions without the store: half of them anonymous, the others
// ten for each subject.
func fill(t testing.TB, s *Store, n int, now store.Time) {
	t.Helper()
	execute(t, s.pool.config.ConnString(), in(s.opt.Schema, `
		INSERT INTO sojourn.apps (name) VALUES ('shop') ON CONFLICT DO NOTHING`), in(s.opt.Schema, `
		INSERT INTO sojourn.sessions (id, created_at, revision, epoch, last_seen_at, idle, expires_at, sweep_at, joined, secret_issued_at,
			app, level, secret_login, remembered, stale, bearer, until_browser_closes, secret, epoch_hash, subject, ip, user_agent, data)
		SELECT (lpad(to_hex(`+itoa(now)+`::bigint + i), 12, '0') || '7000' || '8000' || lpad(to_hex(i), 12, '0'))::uuid, `+itoa(now)+`, 1, 1, `+itoa(now)+`, 3600000, `+itoa(now)+` + 86400000,
			`+itoa(now)+` + 3600000 + i, nextval('sojourn.joins'), `+itoa(now)+`, (SELECT num FROM sojourn.apps WHERE name = 'shop'), 0, false, false, false, false, false, sha256(i::text::bytea), sha256(i::text::bytea),
			CASE WHEN i % 2 = 0 THEN 'user' || (i / 20) END, '192.0.2.7', 'Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0',
			jsonb_build_object('cart', repeat(md5(i::text), 6), 'language', '"de"')
		FROM generate_series(1, `+itoa(n)+`) i`))
}

// TestPlans lets the server explain all statements of the store and of its
// functions at 100,000 sessions. No request reads a whole table.
func TestPlans(t *testing.T) {
	rows := 100_000
	if testing.Short() {
		rows = 20_000
	}
	for _, state := range []string{"planned when empty", "analyzed"} {
		t.Run(state, func(t *testing.T) {
			url := shared(t).URL()
			var mu sync.Mutex
			var plans []string
			watched := false
			observe := func(_ *Store, config *pgx.ConnConfig) {
				config.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) {
					mu.Lock()
					defer mu.Unlock()
					if watched && strings.Contains(n.Message, "plan:") {
						plans = append(plans, n.Message)
					}
				}
				config.RuntimeParams["session_preload_libraries"] = "auto_explain"
				config.RuntimeParams["auto_explain.log_min_duration"] = "0"
				config.RuntimeParams["auto_explain.log_nested_statements"] = "on"
				config.RuntimeParams["auto_explain.log_analyze"] = "on"
				config.RuntimeParams["auto_explain.log_timing"] = "off"
				config.RuntimeParams["client_min_messages"] = "log"
			}
			s, err := open(t.Context(), url, Options{Schema: schemaOf(t, url), MaxConns: 1}, observe)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			now := store.TimeOf(time.Now())
			if state == "planned when empty" {
				for range 8 { // the server plans for the parameters five times, then once for all
					everyCall(t, s, newSession("user7", now), now)
				}
			}
			fill(t, s, rows, now)
			if state == "analyzed" {
				execute(t, url, in(s.opt.Schema, "ANALYZE sojourn.sessions"))
			}
			mu.Lock()
			watched = true
			mu.Unlock()
			everyCall(t, s, newSession("user7", now), now)
			mu.Lock()
			defer mu.Unlock()
			if len(plans) < 20 {
				t.Fatalf("the server explained only %d plans", len(plans))
			}
			removed := regexp.MustCompile(`rows removed by filter: \d{3,}`)
			for _, p := range plans {
				if strings.Contains(p, "Seq Scan on sessions") || strings.Contains(p, "Seq Scan on changes") || removed.MatchString(strings.ToLower(p)) {
					t.Errorf("reads a whole table:\n%s", p)
				}
			}
		})
	}
}

// everyCall makes each call of a request and of the sweep.
func everyCall(t testing.TB, s *Store, rec *store.Record, now store.Time) {
	t.Helper()
	ctx := context.Background()
	must := func(_ []store.Ended, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	limit := store.Limit{Max: 5}
	must(s.Create(ctx, "shop", rec, store.CreateOptions{Arrived: now, Now: now, Limit: limit, Key: rec.ID.String()}))
	must(nil, s.Get(ctx, "shop", rec.ID, true, rec))
	must(s.Update(ctx, "shop", rec, store.UpdateOptions{Arrived: now, Now: now}))
	must(s.Update(ctx, "shop", rec, store.UpdateOptions{Login: true, Arrived: now, Now: now, Limit: limit}))
	must(nil, s.Touch(ctx, "shop", rec.ID, now+1, now, rec.Client))
	rec.Secret.FirstSeenAt = 0
	must(s.Update(ctx, "shop", rec, store.UpdateOptions{Arrived: now, Now: now}))
	must(nil, s.Confirm(ctx, "shop", rec.ID, rec.Secret.Hash, store.Confirmation{FirstSeenAt: now}))
	for _, subject := range []string{"", "user7"} {
		_, _, err := s.List(ctx, "shop", store.ListOptions{Subject: subject, Limit: 10, Now: now})
		must(nil, err)
	}
	_, err := s.Search(ctx, "shop", store.SearchOptions{Limit: 10, Scan: 50, Now: now})
	must(nil, err)
	must(s.End(ctx, "shop", rec.ID, store.ReasonLogout, now))
	_, _, err = s.List(ctx, "shop", store.ListOptions{Subject: "user7", Ended: true, Limit: 10, Now: now})
	must(nil, err)
	must(s.EndSubject(ctx, "shop", "user8", store.ID{}, store.ReasonRevoked, now-1))
	_, _, err = s.Sweep(ctx, "shop", now, 100)
	must(nil, err)
	must(nil, s.EndAll(ctx, "shop", 1))
}

func itoa[T ~int | ~int64](n T) string { return strconv.FormatInt(int64(n), 10) }
