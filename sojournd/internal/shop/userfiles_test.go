package shop

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/sojournd/internal/password"
)

func openUserFile(t *testing.T, path string) *Users {
	t.Helper()
	u, err := OpenUsers(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := u.Close(); err != nil {
			t.Error(err)
		}
	})
	return u
}

func TestUserFile(t *testing.T) {
	testUsers(t, func(t *testing.T) *Users { return openUserFile(t, filepath.Join(t.TempDir(), "shop.db")) })
}

func TestUserFileKeepsUsers(t *testing.T) {
	ctx, path := t.Context(), filepath.Join(t.TempDir(), "a shop?#%41.db") // nothing of it is a URL
	want := User{ID: "1", Email: "ada@x", PasswordHash: "h", Cart: []Line{{"tent", 2}}, Preferences: Preferences{"dark", "de"}}
	version := CartVersion{sojourn.ID{1}, 9}
	for round := range 2 {
		users, err := OpenUsers(ctx, path)
		if err != nil {
			t.Fatal(err)
		}
		if round == 0 {
			err = errors.Join(users.Add(ctx, User{ID: "1", Email: "ada@x", PasswordHash: "h"}),
				users.SetPreferences(ctx, "1", want.Preferences, time.UnixMilli(1)), users.SetCart(ctx, "1", want.Cart, version))
		}
		if err != nil {
			t.Fatal(err)
		}
		u, err := users.ByEmail(ctx, "ada@x")
		if err != nil || u.ID != want.ID || u.PasswordHash != "h" || lines(u.Cart) != "tent:2" || u.Preferences != want.Preferences {
			t.Errorf("opened %d times: %+v, %v", round+1, u, err)
		}
		if round == 1 { // A session that was restored from a backup is at an earlier revision.
			version.Revision = 3
			if err := users.SetCart(ctx, "1", []Line{{"camera", 1}}, version); err != nil {
				t.Error(err)
			}
			if u, err := users.ByID(ctx, "1"); err != nil || lines(u.Cart) != "camera:1" {
				t.Errorf("%q, %v", lines(u.Cart), err)
			}
		}
		if err := users.Close(); err != nil {
			t.Error(err)
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

func TestUserFileIsDurable(t *testing.T) {
	users := openUserFile(t, filepath.Join(t.TempDir(), "shop.db"))
	for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2"} {
		var got string
		if err := users.db.QueryRow("PRAGMA " + pragma).Scan(&got); err != nil || got != want {
			t.Errorf("%s is %s, %v, want %s", pragma, got, err, want)
		}
	}
}

func TestUserFileIsBounded(t *testing.T) {
	ctx := t.Context()
	users := openUserFile(t, filepath.Join(t.TempDir(), "shop.db"))
	users.max = 2
	for _, c := range []struct {
		user User
		want error
	}{
		{User{ID: "1", Email: "a@x"}, nil}, {User{ID: "2", Email: "b@x"}, nil},
		{User{ID: "3", Email: "c@x"}, ErrUsersFull}, {User{ID: "3", Email: "a@x"}, ErrEmailTaken},
	} {
		if err := users.Add(ctx, c.user); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.user.Email, err, c.want)
		}
	}
	if _, err := users.ByEmail(ctx, "c@x"); !errors.Is(err, ErrNoUser) {
		t.Error(err)
	}
	// A full disk is reported as such, not as a duplicate address.
	if _, err := users.db.Exec("PRAGMA max_page_count = 1"); err != nil {
		t.Fatal(err)
	}
	users.max = 1000
	users.db.SetMaxOpenConns(1)
	if _, err := users.db.Exec("PRAGMA max_page_count = 1"); err != nil { // it can't be below what is there
		t.Fatal(err)
	}
	if err := users.Add(ctx, User{ID: "4", Email: "d@x", PasswordHash: strings.Repeat("h", 1<<20)}); !errors.Is(err, ErrUsersFull) {
		t.Errorf("no room: %v", err)
	}
}

// Files of earlier versions keep their users.
func TestOldUserFiles(t *testing.T) {
	for version, column := range map[int]string{1: "", 2: ", not_before INTEGER NOT NULL DEFAULT 0"} {
		path := filepath.Join(t.TempDir(), "shop.db")
		db, err := sql.Open("sqlite", path)
		if err == nil {
			_, err = db.Exec(fmt.Sprintf(`PRAGMA application_id = %d; PRAGMA user_version = %d; CREATE TABLE users (id TEXT PRIMARY KEY, email TEXT NOT NULL UNIQUE,
				password_hash TEXT NOT NULL, cart TEXT NOT NULL DEFAULT '[]', cart_session TEXT NOT NULL DEFAULT '', cart_revision INTEGER NOT NULL DEFAULT 0,
				theme TEXT NOT NULL DEFAULT '', language TEXT NOT NULL DEFAULT ''%s) STRICT;
				INSERT INTO users (id, email, password_hash, theme) VALUES ('1', 'ada@x', 'h', 'dark')`, usersFileID, version, column))
		}
		if err := errors.Join(err, db.Close()); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			users := openUserFile(t, path)
			u, err := users.ByEmail(t.Context(), "ada@x")
			if err != nil || u.Preferences.Theme != "dark" {
				t.Errorf("version %d: %+v, %v", version, u, err)
			}
			if err := errors.Join(users.SetNotBefore(t.Context(), "1", time.Now()), users.SetPreferences(t.Context(), "1", Preferences{Language: "de"}, time.Now())); err != nil {
				t.Errorf("version %d: %v", version, err)
			}
			if err := users.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestOpenUsersRefuses(t *testing.T) {
	ctx := t.Context()
	database := func(script string) func(t *testing.T, path string) {
		return func(t *testing.T, path string) {
			db, err := sql.Open("sqlite", path)
			if err == nil {
				_, err = db.Exec(script)
			}
			if err := errors.Join(err, db.Close()); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, c := range map[string]struct {
		make func(t *testing.T, path string)
		want string
	}{
		"text": {func(t *testing.T, path string) {
			if err := os.WriteFile(path, []byte(strings.Repeat("This is no database. ", 100)), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "move it away"},
		"another program's": {database("CREATE TABLE t (a); INSERT INTO t VALUES (1)"), "move it away"},
		"the sessions'":     {database("PRAGMA application_id = 1397705294"), "move it away"},
		"newer": {func(t *testing.T, path string) {
			if err := openUserFile(t, path).Close(); err != nil {
				t.Fatal(err)
			}
			database("PRAGMA user_version = 99")(t, path)
		}, "newer version (99"},
		"a directory": {func(t *testing.T, path string) {
			if err := os.Mkdir(path, 0o700); err != nil {
				t.Fatal(err)
			}
		}, "is a directory"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "shop.db")
			c.make(t, path)
			before, _ := os.ReadFile(path)
			u, err := OpenUsers(ctx, path)
			if err == nil {
				_ = u.Close()
			}
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("%v, want %q and the path", err, c.want)
			}
			if after, _ := os.ReadFile(path); string(after) != string(before) {
				t.Error("the file was changed")
			}
		})
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	if u, err := OpenUsers(cancelled, filepath.Join(t.TempDir(), "shop.db")); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, %v", u, err)
	}
}

// A restart does not change the demo's accounts.
func TestAddDemoAgain(t *testing.T) {
	ctx := t.Context()
	users := openUserFile(t, filepath.Join(t.TempDir(), "shop.db"))
	for _, want := range []string{ada.Email, "countess@x", "countess@x"} {
		accounts, err := AddDemo(ctx, users, cheapPasswords(), []Account{ada, ben})
		if err != nil {
			t.Fatal(err)
		}
		if accounts[0] != (Account{want, ada.Password}) || accounts[1] != ben {
			t.Errorf("%v, want %s", accounts, want)
		}
		if err := users.SetEmail(ctx, "demo-ada", "countess@x"); err != nil {
			t.Fatal(err)
		}
	}
}

// Several nodes of a shop may start at once on a machine without accounts.
func TestSharedUsersAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "shop.db")
	var wg sync.WaitGroup
	passwords, err := password.New(password.Cost{})
	if err != nil {
		t.Fatal(err)
	}
	for range 8 {
		wg.Go(func() {
			users, err := OpenSharedUsers(t.Context(), path)
			if err != nil {
				t.Error(err)
				return
			}
			defer users.Close()
			if _, err := AddDemo(t.Context(), users, passwords, []Account{{Email: "ada@example.com", Password: "difference-engine"}}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}
