package main

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn/internal/servertest"
	"github.com/sojourn-go/sojourn/sojournd/internal/config"
)

// canary is the password of every database. Nothing may print it.
const canary = "canary-in-the-mine"

// A database is a server that can store sessions.
type database struct {
	url  string   // with the password
	ca   string   // vouches for its certificate; empty: it has none
	more []string // flags
}

// args returns the flags of a command line without the password.
func (d database) args(t *testing.T) []string {
	t.Helper()
	u, err := url.Parse(d.url)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.User(u.User.Username())
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte(canary+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	args := append([]string{"--store", u.String(), "--store-password-file", file}, d.more...)
	if d.ca != "" {
		args = append(args, "--store-ca", d.ca)
	}
	return args
}

var databases = map[string]func(t *testing.T) database{
	"redis": func(t *testing.T) database {
		return database{url: servertest.Redis(t, servertest.RedisOptions{Password: canary}).URL()}
	},
	"rediss": func(t *testing.T) database {
		r := servertest.Redis(t, servertest.RedisOptions{User: "sojourn", Password: canary, TLS: true})
		return database{url: r.URL(), ca: r.Certificates.CAFile}
	},
	"redis by its socket": func(t *testing.T) database {
		dir := t.TempDir()
		servertest.Redis(t, servertest.RedisOptions{Password: canary, Config: []string{"unixsocket " + dir + "/redis.sock"}})
		return database{url: "unix://:" + canary + "@" + dir + "/redis.sock?prefix=shop"}
	},
	"redis-sentinel": func(t *testing.T) database {
		return database{url: servertest.Sentinel(t, servertest.SentinelOptions{Redis: servertest.RedisOptions{Password: canary}}).URL()}
	},
	"redis-cluster": func(t *testing.T) database {
		return database{url: servertest.Cluster(t, servertest.RedisOptions{Password: canary}).URL()}
	},
	"rediss-cluster": func(t *testing.T) database {
		c := servertest.Cluster(t, servertest.RedisOptions{Password: canary, TLS: true})
		return database{url: c.URL(), ca: c.Nodes[0].Certificates.CAFile}
	},
	"postgres": func(t *testing.T) database {
		p := servertest.PostgreSQL(t, servertest.PostgreSQLOptions{Password: canary, TLS: true})
		u, err := url.Parse(p.URL())
		if err != nil {
			t.Fatal(err)
		}
		u.RawQuery = "sslmode=verify-full&schema=shop"
		return database{url: u.String(), ca: p.Certificates.CAFile}
	},
	"postgres with a standby": func(t *testing.T) database {
		p := servertest.PostgreSQL(t, servertest.PostgreSQLOptions{Password: canary})
		standby := p.Standby(t, servertest.StandbyOptions{})
		return database{url: strings.Replace(p.URL(), p.Addr(), standby.Addr()+","+p.Addr(), 1)}
	},
	"pgbouncer": func(t *testing.T) database {
		p := servertest.PostgreSQL(t, servertest.PostgreSQLOptions{Password: canary})
		b := servertest.PgBouncer(t, p, servertest.PgBouncerOptions{})
		direct, err := url.Parse(p.URL())
		if err != nil {
			t.Fatal(err)
		}
		direct.User = url.User(direct.User.Username())
		return database{url: b.URL(), more: []string{"--store-feed", direct.String()}}
	},
}

// Two nodes of the shop share each database: a sign-in and a sign-out at one
// count at the other, also after a restart. Nobody else can read a secret.
func TestNodesOfOneShop(t *testing.T) {
	for name, start := range databases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			args := start(t).args(t)
			a, b := startDemo(t, args...), startDemo(t, args...)
			token := a.signIn()
			b.wantSignedIn(token, true)
			a.kill()
			a = startDemo(t, args...)
			a.wantSignedIn(token, true)
			b.wantSignedIn(token, true) // from b's memory
			if res := fetch(t, "POST", a.url+"/logout", "x=y", token); res.StatusCode != http.StatusSeeOther {
				t.Errorf("sign-out: %s", res.Status)
			}
			acknowledged := time.Now()
			for asked := acknowledged; b.signedIn(token); asked = time.Now() {
				if asked.Sub(acknowledged) > time.Second {
					t.Fatal("b serves the session to who asks a second after its end was acknowledged")
				}
			}
			b.wantSignedIn(token, false)
			if name == "redis" || name == "postgres" {
				consoleEnds(t, a, b)
				consoleEnds(t, b, a)
			}
			for _, s := range []*server{a, b} {
				if seen := s.command.Path + strings.Join(s.processArgs(), " ") + s.stdout.String() + s.stderr.String(); strings.Contains(seen, canary) {
					t.Errorf("the password shows in\n%s", seen)
				}
				s.stop()
			}
		})
	}
}

// consoleEnds finds, shows and ends a session of one node in the console of
// another. A page that is open on the first node hears of it.
func consoleEnds(t *testing.T, node, another *server) {
	t.Helper()
	token := node.signIn()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, "GET", node.url+"/live", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.AddCookie(&http.Cookie{Name: token.Name, Value: token.Value})
	page, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer page.Body.Close()

	link := regexp.MustCompile(`(http://localhost:\d+)(/sign-in\?once=\S+)`).FindStringSubmatch(another.stdout.String())
	if link == nil {
		t.Fatal(another.stdout.String())
	}
	ann := newOperator(t, link[1])
	if status, body := ann.get(link[2], nil); status != 200 || !strings.Contains(body, " alone. Other nodes have their own.") {
		t.Fatalf("the link: %d, %s", status, body)
	}
	status, body := ann.get("/find?q=demo-ada", nil)
	found := regexp.MustCompile(`href="(/apps/[a-z]+/sessions/[0-9a-f-]{36})"`).FindStringSubmatch(body)
	if status != 200 || found == nil || !strings.Contains(body, "1 live session of at most") {
		t.Fatalf("find: %d, %s", status, body)
	}
	if status, body := ann.get(found[1], nil); status != 200 || !strings.Contains(body, "Deadlines") {
		t.Errorf("show: %d, %s", status, body)
	}
	if status, body := ann.get(found[1]+"/end", url.Values{"reason": {"a test"}}); status != 200 || !strings.Contains(body, "The session has ended.") {
		t.Errorf("end: %d, %s", status, body)
	}
	text, err := io.ReadAll(page.Body) // the stream ends with the session
	if err != nil || !strings.Contains(string(text), "event: signed-out") {
		t.Errorf("the open page heard %q, %v", text, err)
	}
	node.wantSignedIn(token, false)
}

// processArgs returns the arguments as ps shows them.
func (s *server) processArgs() []string {
	s.t.Helper()
	b, err := os.ReadFile("/proc/" + strconv.Itoa(s.command.Process.Pid) + "/cmdline")
	if err != nil {
		return s.command.Args // there is no /proc
	}
	return strings.Split(string(b), "\x00")
}

func (s *server) signedIn(token *http.Cookie) bool {
	s.t.Helper()
	res := fetch(s.t, "GET", s.url+"/account", "", token)
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK && res.StatusCode != http.StatusUnauthorized { // this is no page view
		s.t.Fatalf("/account: %s", res.Status)
	}
	return res.StatusCode == http.StatusOK
}

func (s *server) wantSignedIn(token *http.Cookie, want bool) {
	s.t.Helper()
	if got := s.signedIn(token); got != want {
		s.t.Errorf("signed in: %v, want %v", got, want)
	}
}

// The whole URL, or the password, may be in the environment.
func TestDatabaseInTheEnvironment(t *testing.T) {
	d := servertest.Redis(t, servertest.RedisOptions{Password: canary})
	t.Setenv("SOJOURN_STORE", d.URL())
	if code, stdout, stderr := callServer(t, "serve"); code != 0 || !strings.Contains(stdout, "in Redis at "+d.Addr()) || strings.Contains(stdout+stderr, canary) {
		t.Errorf("exit code %d, printed %q and %q", code, stdout, stderr)
	}
	t.Setenv("SOJOURN_STORE", "redis://"+d.Addr())
	t.Setenv(config.StorePasswordVariable, canary)
	if code, stdout, stderr := callServer(t, "serve"); code != 0 || strings.Contains(stdout+stderr, canary) {
		t.Errorf("exit code %d, printed %q and %q", code, stdout, stderr)
	}
}

func TestDatabaseRefused(t *testing.T) {
	redis := servertest.Redis(t, servertest.RedisOptions{Password: canary})
	postgres := servertest.PostgreSQL(t, servertest.PostgreSQLOptions{Password: canary})
	wrong := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(wrong, []byte("a wrong one"), 0o600); err != nil {
		t.Fatal(err)
	}
	none := filepath.Join(t.TempDir(), "none")
	bare := regexp.MustCompile(`//[^@]*@`).ReplaceAllString(postgres.URL(), "//sojourn@")
	for _, c := range []struct {
		args string
		code int
		want string
	}{
		{"--store redis://" + redis.Addr(), 1, "password"},
		{"--store redis://" + redis.Addr() + " --store-password-file " + wrong, 1, "password"},
		{"--store redis://" + redis.Addr() + " --store-password-file " + none, 2, none},
		{"--store redis://:" + canary + "@" + redis.Addr(), 2, "shows in ps"},
		{"--store postgres://sojourn:" + canary + "@" + postgres.Addr() + "/sojourn", 2, "shows in ps"},
		{"--store " + bare + " --store-password-file " + wrong, 1, "password"},
		{"--store redis://127.0.0.1:1", 1, "127.0.0.1:1"},
		{"--store redis://" + redis.Addr() + " --store-feed postgres://h/d", 2, "the command line: store_feed: this is for postgres://"},
		{"--store redis-cluster://" + redis.Addr() + " --store-password-file " + wrong, 1, ""},
		{"--store redis://", 2, "host"},
		{"--store redis://h:port", 2, "port"},
		{"--store postgres://h:port", 2, "not a URL of PostgreSQL"},
	} {
		code, stdout, stderr := callServer(t, append([]string{"serve"}, strings.Fields(c.args)...)...)
		lines := strings.Count(stderr, "\n") - strings.Count(stderr, "variable=SOJOURN_REQUIRE_ALL") // of the tests' own environment
		if code != c.code || !strings.Contains(stderr, c.want) || strings.Contains(stdout+stderr, canary) || strings.Contains(stderr, "a wrong one") || lines > 2 {
			t.Errorf("%s: exit code %d, want %d; printed %q and %q, want %q", c.args, code, c.code, stdout, stderr, c.want)
		}
	}
}
