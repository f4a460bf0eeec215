package redisstore

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn/internal/servertest"
	"github.com/sojourn-go/sojourn/store"
)

// The store follows the sentinels to a new master: sessions are read and
// written there, and the feed reports a gap and then the changes of other
// nodes. It never reads the old master again, which comes back with old data.
func TestSentinelFailover(t *testing.T) {
	t.Parallel()
	r := servertest.Sentinel(t, servertest.SentinelOptions{
		Redis:    servertest.RedisOptions{Password: secret, Config: []string{"user sojourn on >rotated ~p:* +@read +@write +@scripting +@connection +info +time +role"}},
		Password: "another",
	})
	credentials := Options{Prefix: "p", Credentials: func(context.Context) (string, string, error) { return "sojourn", "rotated", nil }}
	node := openAt(t, r.URL(), Options{Prefix: "p"})
	other := openAt(t, strings.Replace(r.URL(), ":"+secret+"@", "", 1), credentials)
	changes := watch(t, node)
	ann, bob := create(t, node, session("ann")), create(t, node, session("bob"))
	if n, err := r.Master.Do("WAIT", "1", "60000"); err != nil || n != int64(1) {
		t.Fatalf("the replica: %v, %v", n, err)
	}
	if err := r.Sentinels[0].Kill(); err != nil { // one of three may fail too
		t.Fatal(err)
	}
	if err := r.Master.Kill(); err != nil {
		t.Fatal(err)
	}
	get := func(s *Store, id store.ID) error { return s.Get(t.Context(), app, id, true, new(store.Record)) }
	if err := get(node, ann.ID); err == nil {
		t.Error("reads work without a master")
	}
	eventually(t, "the other node ends a session at the new master", func() error {
		_, err := other.End(t.Context(), app, ann.ID, store.ReasonRevoked, t0)
		return err
	})
	eventually(t, "the first node sees it", func() error {
		if err := get(node, ann.ID); !errors.Is(err, store.ErrEnded) {
			return fmt.Errorf("it isn't ended: %w", err)
		}
		return nil
	})
	if before := beatUntil(t, node, changes, 1000); !slices.ContainsFunc(before, func(c store.Change) bool { return c.Kind == store.Gap }) {
		t.Errorf("the feed reports no gap, but %+v", before)
	}

	if err := r.Master.Start(); err != nil { // it takes itself for the master, and has no session
		t.Fatal(err)
	}
	if _, err := other.End(t.Context(), app, bob.ID, store.ReasonLogout, t0); err != nil {
		t.Fatal(err)
	}
	if before := beatUntil(t, node, changes, 2000); !slices.Contains(before, store.Change{Kind: store.Gone, App: app, ID: bob.ID}) {
		t.Errorf("the feed doesn't report the end, but %+v", before)
	}
	for _, s := range []*Store{node, other, openAt(t, r.URL(), Options{Prefix: "p"})} {
		if err := get(s, bob.ID); !errors.Is(err, store.ErrEnded) {
			t.Errorf("the session that has ended: %v", err)
		}
	}
}

// In a planned failover the old master lives on, and still accepts writes for a
// while. The store leaves it with all connections, and writes nothing there.
func TestSentinelPlannedFailover(t *testing.T) {
	t.Parallel()
	r := servertest.Sentinel(t, servertest.SentinelOptions{})
	node := openAt(t, r.URL()+"&client_name=of-the-node", Options{Prefix: "p"})
	changes := watch(t, node)
	ann := create(t, node, session("ann"))
	if n, err := r.Master.Do("WAIT", "1", "60000"); err != nil || n != int64(1) {
		t.Fatalf("the replica: %v, %v", n, err)
	}
	if _, err := r.Sentinels[0].Do("SENTINEL", "FAILOVER", servertest.MasterSet); err != nil {
		t.Fatal(err)
	}
	eventually(t, "no connection to the old master is left", func() error {
		list, err := r.Master.Do("CLIENT", "LIST")
		if err == nil && strings.Contains(fmt.Sprint(list), "name=of-the-node") {
			err = fmt.Errorf("%v", list)
		}
		return err
	})
	var bob *store.Record
	eventually(t, "the node writes", func() error {
		bob = session("bob")
		_, err := node.Create(t.Context(), app, bob, created(bob))
		return err
	})
	for id, want := range map[store.ID]bool{ann.ID: true, bob.ID: true} {
		if n, err := r.Replica.Do("EXISTS", node.placeOf(app, id).session(id)); err != nil || n == int64(1) != want {
			t.Errorf("at the new master: %v, %v", n, err)
		}
	}
	if before := beatUntil(t, node, changes, 1000); !slices.ContainsFunc(before, func(c store.Change) bool { return c.Kind == store.Gap }) {
		t.Errorf("the feed reports no gap, but %+v", before)
	}
}

func eventually(t *testing.T, what string, is func() error) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		err := is()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not in two minutes: %s: %v", what, err)
		}
	}
}

// Errors about sentinels say what to change.
func TestSentinelBadInput(t *testing.T) {
	t.Parallel()
	r := servertest.Sentinel(t, servertest.SentinelOptions{Redis: servertest.RedisOptions{Password: secret}, Password: "another"})
	for url, want := range map[string]string{
		strings.Replace(r.URL(), servertest.MasterSet, "unknown", 1):               "correct master_set",
		strings.Replace(r.URL(), "sentinel_password=another", "sentinel_user=", 1): "password",
		strings.Replace(r.URL(), ":"+secret+"@", ":wrong@", 1):                     "password",
		"redis-sentinel://127.0.0.1:1?master_set=m&timeout=1s":                     "127.0.0.1:1",
	} {
		_, err := Open(t.Context(), url, Options{})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: %v, want something about %q", url, err, want)
		}
	}
}

// With rediss-sentinel://, the connections to the sentinels have TLS too.
func TestSentinelTLS(t *testing.T) {
	t.Parallel()
	r := servertest.Sentinel(t, servertest.SentinelOptions{Redis: servertest.RedisOptions{Password: secret, TLS: true}, Password: "another"})
	s := openAt(t, r.URL(), Options{TLSConfig: r.Master.Certificates.Config()})
	watch(t, s)
	create(t, s, session("ann"))
	for url, want := range map[string]string{r.URL(): "certificate", strings.Replace(r.URL(), "rediss", "redis", 1) + "&timeout=1s": "reached"} {
		if _, err := Open(t.Context(), url, Options{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want something about %q", url, err, want)
		}
	}
}

// A Unix socket does whatever TCP does.
func TestUnixSocket(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "a redis?.sock")
	r := servertest.Redis(t, servertest.RedisOptions{User: "ada", Password: secret, Config: []string{`unixsocket "` + path + `"`}})
	url := "unix://ada:" + secret + "@" + strings.NewReplacer(" ", "%20", "?", "%3F").Replace(path) + "?db=1&prefix=other"
	s, err := Open(t.Context(), url, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	watch(t, s)
	ann := create(t, s, session("ann"))
	if key, err := r.Do("EXISTS", s.placeOf(app, ann.ID).session(ann.ID)); err != nil || key != int64(0) {
		t.Errorf("it is in database 0: %v, %v", key, err)
	}
	if _, err := Open(t.Context(), "unix://"+filepath.Join(dir, "none")+"?timeout=1s", Options{}); err == nil || !strings.Contains(err.Error(), "none") {
		t.Errorf("a socket that doesn't exist: %v", err)
	}
}
