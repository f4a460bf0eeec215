package pgstore

import (
	"errors"
	"strings"
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

// A newer version adds a column to the schema while a node of this version runs.
// The node goes on, and what it writes leaves the column as it is.
func TestBesideNewerNode(t *testing.T) {
	s, url := openNew(t), shared(t).URL()
	changes, err := s.Watch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, now := t.Context(), store.TimeOf(time.Now())
	options := store.CreateOptions{Arrived: now, Now: now, Limit: store.Limit{Max: 10}}
	old, young := newSession("ann", now), newSession("ann", now)
	if _, err := s.Create(ctx, "shop", old, options); err != nil {
		t.Fatal(err)
	}
	<-changes
	execute(t, url, in(s.opt.Schema, "ALTER TABLE sojourn.sessions ADD COLUMN colour text NOT NULL DEFAULT 'none'"),
		in(s.opt.Schema, "UPDATE sojourn.sessions SET colour = 'blue'"),
		in(s.opt.Schema, "INSERT INTO sojourn.goose_db_version (version_id, is_applied) VALUES (99, true)"))

	_, err = s.Create(ctx, "shop", young, options)
	if err != nil {
		t.Fatalf("create: %v", err)
	}
	if change := <-changes; change.ID != young.ID {
		t.Errorf("the feed reports %+v", change)
	}
	old.Level, old.LastClient.UserAgent = 2, "Firefox"
	_, updated := s.Update(ctx, "shop", old, store.UpdateOptions{Arrived: now, Now: now, Login: true, Limit: store.Limit{Max: 10}})
	touched := s.Touch(ctx, "shop", old.ID, now+1, now, old.LastClient)
	var got store.Record
	read := s.Get(ctx, "shop", old.ID, true, &got)
	page, _, listed := s.List(ctx, "shop", store.ListOptions{Subject: "ann", Now: now, Limit: 10})
	_, _, swept := s.Sweep(ctx, "shop", now, 100)
	if err := errors.Join(updated, touched, read, listed, swept); err != nil || got.Level != 2 || len(page) != 2 {
		t.Errorf("%v: level %d, %d sessions", err, got.Level, len(page))
	}
	colours := query(t, url, in(s.opt.Schema, "SELECT colour FROM sojourn.sessions ORDER BY colour"))
	if want := "bluenone"; strings.Join(strings.Fields(colours), "") != want {
		t.Errorf("the column that this version doesn't know holds %q, want %q", colours, want)
	}
	ended, err := s.EndSubject(ctx, "shop", "ann", store.ID{}, store.ReasonRevoked, now)
	if err != nil || len(ended) != 2 {
		t.Errorf("ended %v: %v", ended, err)
	}
}
