//go:build linux

package servertest_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn/internal/servertest"
)

func TestRedis(t *testing.T) {
	t.Parallel()
	r := servertest.Redis(t, servertest.RedisOptions{})
	do(t, r, "OK", "SET", "a", "1")
	if _, err := r.Do("NONSENSE"); !errors.As(err, new(servertest.RedisError)) {
		t.Errorf("an unknown command: %v", err)
	}
	if memory, err := r.Info("used_memory"); err != nil || memory == "" {
		t.Errorf("used_memory is %q, %v", memory, err)
	}
	port := r.Port()
	must(t, r.RestartEmpty())
	do(t, r, nil, "GET", "a")
	if r.Port() != port {
		t.Errorf("the port was %d and is %d", port, r.Port())
	}
	pid := r.PID()
	r.Close()
	r.Close()
	gone(t, pid)
	if _, err := os.Stat(r.Dir()); !os.IsNotExist(err) {
		t.Errorf("files are left: %v", err)
	}
}

func TestRedisKeepsWhatItShould(t *testing.T) {
	t.Parallel()
	r := servertest.Redis(t, servertest.RedisOptions{AppendOnly: true, MaxMemory: "20mb", Config: []string{"databases 3"}})
	do(t, r, "OK", "SET", "a", "1")
	must(t, r.Kill())
	must(t, r.Start())
	do(t, r, "1", "GET", "a")
	must(t, r.Restart())
	do(t, r, "1", "GET", "a")
	if memory, err := r.Info("maxmemory"); err != nil || memory != strconv.Itoa(20<<20) {
		t.Errorf("maxmemory is %s, %v", memory, err)
	}
	do(t, r, []any{"databases", "3"}, "CONFIG", "GET", "databases")
}

func TestRedisPausesAndContinues(t *testing.T) {
	t.Parallel()
	r := servertest.Redis(t, servertest.RedisOptions{})
	must(t, r.Pause())
	answered := make(chan error, 1)
	go func() {
		_, err := r.Do("PING")
		answered <- err
	}()
	select {
	case err := <-answered:
		t.Errorf("a paused server answered: %v", err)
	case <-time.After(200 * time.Millisecond):
	}
	must(t, r.Continue())
	must(t, <-answered)
	must(t, r.Pause())
	must(t, r.Kill())
	must(t, r.Start())
}

func TestRedisAsksForPassword(t *testing.T) {
	t.Parallel()
	for _, opt := range []servertest.RedisOptions{
		{Password: "s3:cr/et"},
		{User: "shop", Password: "secret", TLS: true},
	} {
		r := servertest.Redis(t, opt)
		do(t, r, "PONG", "PING")
		scheme := "redis"
		if opt.TLS {
			scheme = "rediss"
			config := r.Certificates.Config()
			conn, err := tls.Dial("tcp", r.Addr(), config)
			must(t, err)
			conn.Close()
			if _, err := tls.Dial("tcp", r.Addr(), &tls.Config{}); err == nil {
				t.Error("a client without the authority trusts the server")
			}
		}
		if !strings.HasPrefix(r.URL(), scheme+"://"+opt.User+":s") {
			t.Errorf("URL is %s", r.URL())
		}
		if !opt.TLS {
			conn, err := net.Dial("tcp", r.Addr())
			must(t, err)
			fmt.Fprint(conn, "PING\r\n")
			b := make([]byte, 7)
			if _, err := conn.Read(b); err != nil || string(b) != "-NOAUTH" {
				t.Errorf("without password: %s, %v", b, err)
			}
			conn.Close()
		}
	}
}

func TestCluster(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("a failover takes its time")
	}
	c := servertest.Cluster(t, servertest.RedisOptions{Password: "secret"})
	masters := c.Masters()
	if len(c.Nodes) != 6 || len(masters) != 3 || !strings.HasPrefix(c.URL(), "redis-cluster://:secret@127.0.0.1:") {
		t.Fatalf("%d nodes, %d masters, %s", len(c.Nodes), len(masters), c.URL())
	}
	do(t, masters[0], "OK", "SET", "b", "1") // slot 3300
	do(t, masters[0], int64(1), "WAIT", "1", "10000")
	steps := 0
	must(t, c.MoveSlot(3300, masters[0], masters[1], func() {
		if steps++; steps == 2 {
			if v, err := masters[0].Do("MGET", "b", "{b}"); err == nil || !strings.Contains(err.Error(), "TRYAGAIN") {
				t.Errorf("a slot that moves: %v, %v", v, err)
			}
		}
	}))
	do(t, masters[1], "1", "GET", "b")
	must(t, c.MoveSlot(3300, masters[1], masters[0], func() {}))
	do(t, masters[0], int64(1), "WAIT", "1", "10000")
	must(t, c.Failover(masters[0]))
	found := 0
	for _, m := range c.Masters() {
		if v, err := m.Do("GET", "b"); err == nil && v == "1" {
			found++
		}
	}
	if found != 1 {
		t.Errorf("after the failover %d masters have the key", found)
	}
	must(t, masters[0].Start())
	must(t, c.WaitHealthy())
	if role, err := masters[0].Info("role"); err != nil || role != "slave" {
		t.Errorf("the former master is %s, %v", role, err)
	}
}

func TestPostgreSQL(t *testing.T) {
	t.Parallel()
	p := servertest.PostgreSQL(t, servertest.PostgreSQLOptions{Config: []string{"work_mem = '5MB'"}})
	must(t, p.SQL("sojourn", "CREATE TABLE t (a int)", "INSERT INTO t VALUES (1)"))
	query(t, p, "5MB", "SHOW work_mem")
	for name, restart := range map[string]func() error{
		"kill":             p.Kill,
		"immediately":      p.StopImmediately,
		"in good order":    p.Stop,
		"kill while it is": func() error { return errors.Join(p.Pause(), p.Kill()) },
	} {
		must(t, restart())
		if err := p.SQL("sojourn", "SELECT 1"); err == nil {
			t.Errorf("stopped (%s), it answers", name)
		}
		must(t, p.Start())
		query(t, p, "1", "SELECT a FROM t")
	}
	must(t, p.Pause())
	must(t, p.Continue())
	query(t, p, "1", "SELECT a FROM t")
	pid := p.PID()
	p.Close()
	gone(t, pid)
}

// TestStandby: after a takeover a synchronous standby has all acknowledged
// commits. Before, it refuses writes.
func TestStandby(t *testing.T) {
	t.Parallel()
	p := servertest.PostgreSQL(t, servertest.PostgreSQLOptions{Password: `it's s3cr\et`})
	must(t, p.SQL("sojourn", "CREATE TABLE t (a int)"))
	s := p.Standby(t, servertest.StandbyOptions{Synchronous: true})
	must(t, p.SQL("sojourn", "INSERT INTO t VALUES (1)"))
	query(t, p, "on", "SHOW synchronous_commit")
	query(t, s, "t", "SELECT pg_is_in_recovery()")
	if err := s.SQL("sojourn", "INSERT INTO t VALUES (2)"); err == nil {
		t.Error("a standby takes writes")
	}
	must(t, p.Kill())
	must(t, s.Promote())
	query(t, s, "1", "SELECT a FROM t")
	must(t, s.SQL("sojourn", "INSERT INTO t VALUES (2)"))
}

func TestPgBouncer(t *testing.T) {
	t.Parallel()
	p := servertest.PostgreSQL(t, servertest.PostgreSQLOptions{Password: "s3:cr/et"})
	b := servertest.PgBouncer(t, p, servertest.PgBouncerOptions{Config: []string{"query_wait_timeout = 7"}})
	for _, c := range []struct{ url, query, want string }{
		{p.URL(), "SELECT current_user", "sojourn"},
		{b.URL(), "SELECT current_database()", "sojourn"},
		{strings.TrimSuffix(b.URL(), "/sojourn?sslmode=disable") + "/pgbouncer", "SHOW CONFIG", "query_wait_timeout|7"},
		{strings.TrimSuffix(b.URL(), "/sojourn?sslmode=disable") + "/pgbouncer", "SHOW CONFIG", "pool_mode|transaction"},
	} {
		if out, err := p.Query(c.url, c.query); err != nil || !strings.Contains(out, c.want) {
			t.Errorf("%s: %s, %v; want %s", c.query, out, err, c.want)
		}
	}
	if out, err := p.Query(strings.Replace(p.URL(), "s3", "s4", 1), "SELECT 1"); err == nil {
		t.Errorf("a wrong password gets %s", out)
	}
}

func TestPostgreSQLWithTLS(t *testing.T) {
	t.Parallel()
	p := servertest.PostgreSQL(t, servertest.PostgreSQLOptions{Password: "secret", TLS: true})
	if out, err := p.Query(p.URL(), "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"); err != nil || out != "t" {
		t.Errorf("by the URL: %s, %v", out, err)
	}
	if _, err := p.Query(p.URL()[:strings.Index(p.URL(), "?")]+"?sslmode=disable", "SELECT 1"); err == nil {
		t.Error("TCP without TLS is let in")
	}
}

func TestSmallDisk(t *testing.T) {
	dir := servertest.SmallDisk(t, 1<<20)
	if err := os.WriteFile(dir+"/f", make([]byte, 2<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("2 MB on a disk of 1 MB: %v", err)
	}
}

// If a program is missing, the test is skipped, or fails if all tests must run.
func TestMissing(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := servertest.StartRedis(servertest.RedisOptions{})
	if !errors.Is(err, servertest.ErrMissing) || !strings.Contains(err.Error(), "needs redis-server: ") {
		t.Fatal(err)
	}
	for _, c := range []struct{ require, want string }{{"", "skip"}, {"1", "fatal"}} {
		t.Setenv("SOJOURN_REQUIRE_ALL", c.require)
		r := &recorder{}
		servertest.Check(r, err)
		if r.got != c.want {
			t.Errorf("SOJOURN_REQUIRE_ALL=%q: %s, want %s", c.require, r.got, c.want)
		}
	}
}

type recorder struct {
	servertest.TB
	got string
}

func (r *recorder) Helper()               {}
func (r *recorder) Skipf(string, ...any)  { r.got = "skip" }
func (r *recorder) Fatalf(string, ...any) { r.got = "fatal" }

// The error of a server that does not start has the server's own message.
func TestBadConfig(t *testing.T) {
	t.Parallel()
	_, err := servertest.StartRedis(servertest.RedisOptions{Config: []string{"no-such-setting 1"}})
	if errors.Is(err, servertest.ErrMissing) {
		servertest.Check(t, err)
	}
	if err == nil || !strings.Contains(err.Error(), "no-such-setting") {
		t.Errorf("got %v", err)
	}
}

func do(t *testing.T, r *servertest.RedisServer, want any, args ...string) {
	t.Helper()
	got, err := r.Do(args...)
	if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%v: %v, %v; want %v", args, got, err, want)
	}
}

func query(t *testing.T, p *servertest.PostgreSQLServer, want, statement string) {
	t.Helper()
	if got, err := p.Query("sojourn", statement); err != nil || got != want {
		t.Errorf("%s: %q, %v; want %q", statement, got, err, want)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func gone(t *testing.T, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("process %d is left: %v", pid, err)
	}
}
