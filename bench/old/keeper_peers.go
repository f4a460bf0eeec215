package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/alexedwards/scs/sqlite3store"
	"github.com/alexedwards/scs/v2"
	"github.com/gorilla/securecookie"
	"github.com/gorilla/sessions"
	_ "modernc.org/sqlite" // the driver "sqlite"
)

// peerValues are what a session holds in a library that keeps a map.
func peerValues(i, changes int) (user, data string) { return userID(i), someValue(i + changes)[:98] }

// scsKeeper does to the store what scs's middleware does: a gob of the deadline and the map.
type scsKeeper struct {
	db    *sql.DB
	store *sqlite3store.SQLite3Store
}

func openSCSKeeper(ctx context.Context, dir string, n int) (keeper, error) {
	options := url.Values{
		"_pragma":      {"journal_mode(WAL)", "synchronous(FULL)", "busy_timeout(10000)"},
		"_time_format": {"sqlite"}, // else its julianday() can't read the driver's times
	}
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "scs.db")+"?"+options.Encode())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	k := &scsKeeper{db, sqlite3store.NewWithCleanupInterval(db, 0)}
	if err := k.fill(ctx, n); err != nil {
		return nil, errors.Join(fmt.Errorf("bench: scs: %w", err), db.Close())
	}
	return k, nil
}

// fill makes the table as its README says, and n sessions in one transaction.
func (k *scsKeeper) fill(ctx context.Context, n int) error {
	_, err := k.db.ExecContext(ctx, `CREATE TABLE sessions (token TEXT PRIMARY KEY, data BLOB NOT NULL, expiry REAL NOT NULL);
		CREATE INDEX sessions_expiry_idx ON sessions(expiry)`)
	if err != nil {
		return err
	}
	tx, err := k.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // after Commit it does nothing
	insert, err := tx.PrepareContext(ctx, "INSERT INTO sessions (token, data, expiry) VALUES ($1, $2, julianday($3))")
	if err != nil {
		return err
	}
	defer insert.Close()
	for i := range n {
		b, deadline, err := scsEncode(i, 0)
		if err != nil {
			return err
		}
		if _, err := insert.ExecContext(ctx, sampleToken(i), b, deadline); err != nil {
			return err
		}
	}
	return tx.Commit()
}

func scsEncode(i, changes int) ([]byte, time.Time, error) {
	deadline := time.Now().Add(24 * time.Hour).UTC()
	user, data := peerValues(i, changes)
	b, err := scs.GobCodec{}.Encode(deadline, map[string]any{"subject": user, "data": data})
	return b, deadline, err
}

func (k *scsKeeper) hand() hand {
	changes := 0
	write := func(i int) error {
		b, deadline, err := scsEncode(i, changes)
		if err != nil {
			return err
		}
		return k.store.Commit(sampleToken(i), b, deadline)
	}
	read := func(i int) error {
		b, found, err := k.store.Find(sampleToken(i))
		if err != nil {
			return err
		}
		if !found {
			return fmt.Errorf("bench: scs lost session %d", i)
		}
		_, _, err = scs.GobCodec{}.Decode(b)
		return err
	}
	return hand{create: write, read: read, update: func(i int) error {
		if err := read(i); err != nil {
			return err
		}
		changes++
		return write(i)
	}}
}

func (k *scsKeeper) Close() error { return k.db.Close() }

// gorillaKeeper keeps a file for each session.
type gorillaKeeper struct {
	store   *sessions.FilesystemStore
	cookies []string // of the sessions that are read
}

const gorillaName = "session"

func openGorillaKeeper(_ context.Context, dir string, n int) (keeper, error) {
	dir = filepath.Join(dir, "gorilla")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	k := &gorillaKeeper{store: sessions.NewFilesystemStore(dir, securecookie.GenerateRandomKey(32))}
	for i := range n {
		w := &lightWriter{header: http.Header{}}
		if err := k.save(&http.Request{}, w, i, 0); err != nil {
			return nil, err
		}
		cookie, err := http.ParseSetCookie(w.header.Get("Set-Cookie"))
		if err != nil {
			return nil, err
		}
		k.cookies = append(k.cookies, cookie.String())
	}
	return k, nil
}

func (k *gorillaKeeper) save(r *http.Request, w http.ResponseWriter, i, changes int) error {
	s, err := k.store.New(r, gorillaName)
	if err != nil {
		return err
	}
	s.Values["subject"], s.Values["data"] = peerValues(i, changes)
	return s.Save(r, w)
}

func (k *gorillaKeeper) hand() hand {
	changes := 0
	empty := &http.Request{}
	r := &http.Request{Header: http.Header{"Cookie": {""}}}
	w := &lightWriter{header: http.Header{}}
	return hand{
		create: func(i int) error {
			clear(w.header)
			return k.save(empty, w, i, 0)
		},
		update: func(i int) error {
			clear(w.header)
			r.Header["Cookie"][0] = k.cookies[i]
			changes++
			return k.save(r, w, i, changes)
		},
		read: func(i int) error {
			r.Header["Cookie"][0] = k.cookies[i]
			s, err := k.store.New(r, gorillaName)
			if err == nil && s.IsNew {
				err = fmt.Errorf("bench: gorilla lost session %d", i)
			}
			return err
		},
	}
}

func (k *gorillaKeeper) Close() error { return nil }
