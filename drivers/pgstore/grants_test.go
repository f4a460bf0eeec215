package pgstore

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn/internal/servertest"
	"github.com/sojourn-go/sojourn/store"
)

// grants returns the statements of docs/stores.md: for the owner, and for a
// role that only serves.
func grants(t *testing.T) (owner, serving []string) {
	t.Helper()
	page, err := os.ReadFile("../../docs/stores.md")
	if err != nil {
		t.Fatal(err)
	}
	var blocks [][]string
	for _, m := range regexp.MustCompile("(?s)```sql\n(.*?)```").FindAllStringSubmatch(string(page), -1) {
		var list []string
		for line := range strings.Lines(m[1]) {
			statement, _, _ := strings.Cut(line, ";")
			list = append(list, statement)
		}
		blocks = append(blocks, list)
	}
	if len(blocks) != 2 {
		t.Fatalf("docs/stores.md has %d blocks of SQL", len(blocks))
	}
	return blocks[0], blocks[1]
}

// TestGrants: the documented grants are enough, for the owner of a schema who
// may create no other, and for a role that only serves. Neither has a right
// that it doesn't need.
func TestGrants(t *testing.T) {
	t.Parallel()
	p := servertest.PostgreSQL(t, servertest.PostgreSQLOptions{Config: []string{"fsync = off"}})
	owner, serving := grants(t)
	replace := func(list []string) []string { // the superuser of the test has the owner's name
		for i, s := range list {
			list[i] = strings.NewReplacer("ROLE sojourn", "ROLE keeper", "AUTHORIZATION sojourn", "AUTHORIZATION keeper").Replace(s)
		}
		return list
	}
	run := func(statements ...string) {
		t.Helper()
		for _, s := range statements {
			if err := p.SQL("sojourn", s); err != nil {
				t.Fatalf("%s: %v", s, err)
			}
		}
	}
	as := func(role string) string { return strings.Replace(p.URL(), "//sojourn", "//"+role, 1) }
	run("REVOKE ALL ON DATABASE sojourn FROM PUBLIC", "REVOKE ALL ON SCHEMA public FROM PUBLIC", "ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC")
	run(replace(owner)...)
	run("GRANT CONNECT ON DATABASE sojourn TO keeper", "ALTER DEFAULT PRIVILEGES FOR ROLE keeper REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC")
	exercise(t, as("keeper"))

	run("CREATE ROLE nobody LOGIN", "GRANT CONNECT ON DATABASE sojourn TO nobody")
	wantError(t, as("nobody"), Options{}, ErrDenied, "only serves")
	run(replace(serving)...)
	run("GRANT CONNECT ON DATABASE sojourn TO shop")
	exercise(t, as("shop"))
	wantError(t, as("shop"), Options{Schema: "other"}, ErrDenied, "create schemas")
}

// exercise calls every method.
func exercise(t *testing.T, url string) {
	t.Helper()
	s := mustOpen(t, url, Options{MaxBytes: 1 << 30})
	ctx, now := t.Context(), store.TimeOf(time.Now())
	check := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	w := watchOf(t, s)
	opt := store.CreateOptions{Arrived: now, Now: now, Limit: store.Limit{Max: 2}, Key: "k"}
	var recs []*store.Record
	for range 3 { // one more than the limit
		rec := newSession("ada", now)
		_, err := s.Create(ctx, "shop", rec, opt)
		check("Create", err)
		opt.Key = ""
		recs = append(recs, rec)
	}
	rec := recs[2]
	check("Get", s.Get(ctx, "shop", rec.ID, true, rec))
	_, err := s.Update(ctx, "shop", rec, store.UpdateOptions{Login: true, Arrived: now, Now: now, Limit: store.Limit{Max: 2}})
	check("Update", err)
	check("Touch", s.Touch(ctx, "shop", rec.ID, now+5, now, rec.Client))
	check("Confirm", s.Confirm(ctx, "shop", rec.ID, rec.Secret.Hash, store.Confirmation{FirstSeenAt: now, ConfirmedAt: now}))
	_, _, err = s.List(ctx, "shop", store.ListOptions{Now: now, Limit: 10})
	check("List", err)
	_, _, err = s.List(ctx, "shop", store.ListOptions{Now: now, Limit: 10, Subject: "ada"})
	check("List of a subject", err)
	_, err = s.Count(ctx, "shop")
	check("Count", err)
	_, err = s.End(ctx, "shop", rec.ID, store.ReasonLogout, now)
	check("End", err)
	_, err = s.EndSubject(ctx, "shop", "ada", store.ID{}, store.ReasonRevoked, now)
	check("EndSubject", err)
	check("EndAll", s.EndAll(ctx, "shop", now-1))
	for done := false; !done && err == nil; {
		_, done, err = s.Sweep(ctx, "shop", now+1<<40, 1000)
	}
	check("Sweep", err)
	check("measure", s.measure(ctx))
	seen, err := s.prune(ctx, nil)
	check("prune", err)
	if len(seen) == 1 {
		seen[0].at -= 2 * retention.Microseconds()
		_, err = s.prune(ctx, seen)
		check("prune", err)
	}
	w.beat(s, 1)
}
