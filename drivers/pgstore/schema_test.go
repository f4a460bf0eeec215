package pgstore

import (
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sojourn-go/sojourn/store"
)

// Reserved words of SQL are valid names of schemas.
func TestSchemaNamedByAKeyword(t *testing.T) {
	url := shared(t).URL()
	for _, schema := range []string{"user", "select", "null"} {
		drop := func() { execute(t, url, `DROP SCHEMA IF EXISTS "`+schema+`" CASCADE`) }
		drop()
		t.Cleanup(drop)
		mustOpen(t, url, Options{Schema: schema})
		config, err := pgx.ParseConfig(url)
		if err != nil {
			t.Fatal(err)
		}
		if err := migrate(t.Context(), config, schema); err != nil { // as a newer version would
			t.Errorf("%s, migrated again: %v", schema, err)
		}
		s := mustOpen(t, url, Options{Schema: schema})
		changes, err := s.Watch(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ctx, now := t.Context(), store.TimeOf(time.Now())
		rec := newSession("ann", now)
		if _, err := s.Create(ctx, "shop", rec, store.CreateOptions{Arrived: now, Now: now, Limit: store.Limit{Max: 1}, Key: "k"}); err != nil {
			t.Fatalf("%s: %v", schema, err)
		}
		if change := <-changes; change.Kind != store.Changed || change.ID != rec.ID {
			t.Errorf("%s: the feed reports %+v", schema, change)
		}
		rec.Level = 2
		_, err = s.Update(ctx, "shop", rec, store.UpdateOptions{Arrived: now, Now: now, Login: true, Limit: store.Limit{Max: 1}})
		_, estimated := s.use(ctx, func(c *call) error { var bytes int64; return c.row(s.sql.estimate, nil, &bytes) })
		_, _, swept := s.Sweep(ctx, "shop", now, 100)
		ended, failed := s.EndSubject(ctx, "shop", "ann", store.ID{}, store.ReasonRevoked, now)
		if err := errors.Join(err, estimated, swept, failed); err != nil || len(ended) != 1 {
			t.Errorf("%s: %v, %v", schema, ended, err)
		}
	}
}
