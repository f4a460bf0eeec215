package redisstore

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn/internal/servertest"
	"github.com/sojourn-go/sojourn/store"
)

const secret = "s3cr3t-pa55"

// Open refuses a wrong URL. The error says what is wrong and does not quote the
// URL.
func TestOpenWrongURL(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"":                                     "scheme",
		"127.0.0.1:1":                          "scheme",
		"http://:" + secret + "@host":          "redis",
		"redis://:" + secret + "@":             "host",
		"redis://:" + secret + "@a:b":          "port",
		"redis://:" + secret + "@a:0":          "port",
		"redis://:" + secret + "@a,b":          "redis-cluster",
		"redis://:" + secret + "@a/x":          "database",
		"redis://:" + secret + "%zz@a":         "percent-encoded",
		"redis://:" + secret + "@a?tiemout=3s": "tiemout",
		"redis://:" + secret + "@a?timeout=3":  "timeout",
		"redis-sentinel://a?master_set=m&sentinel_password=x&" + secret: "%26",
		"redis://user:12?" + secret + "@a":                              "%3F",
		"redis-cluster://:" + secret + "@a/1":                           "database",
		"redis://:" + secret + "@::1":                                   "host:port",
		"redis://:" + secret + "@a?db=" + secret:                        "db",
		"redis://:" + secret + "@a?prefix=a{b}":                         "prefix must consist",
		"redis://:" + secret + "@a?prefix=":                             "prefix must consist",
		"redis://:" + secret + "@a?master_set=m":                        "redis-sentinel://",
		"redis-sentinel://:" + secret + "@a,b":                          "master_set=mymaster",
		"valkeys-sentinel://a?sentinel_passwort=" + secret:              "sentinel_password",
		"unix://run/redis.sock":                                         "unix:///run/redis/redis.sock",
		"unix://:" + secret + "@":                                       "absolute path",
		"unix:///":                                                      "absolute path",
		"unix:/run/redis.sock":                                          "scheme",
		"redis://user:" + secret + "@127.0.0.1:1":                       "127.0.0.1:1",
		"redis-cluster://u:" + secret + "@127.0.0.1:1":                  "127.0.0.1:1",
		"rediss://:" + secret + "@127.0.0.1:1?dial_timeout=1s":          "127.0.0.1:1",
	} {
		_, err := Open(t.Context(), url, Options{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Open(%q): %v, want something about %q", url, err, want)
		} else if strings.Contains(err.Error(), secret) {
			t.Errorf("the error tells the password: %v", err)
		}
		err = CheckURL(url)
		if wrong := want != "127.0.0.1:1"; wrong != (err != nil) || wrong && !strings.Contains(err.Error(), want) || err != nil && strings.Contains(err.Error(), secret) {
			t.Errorf("CheckURL(%q): %v, want something about %q, or nothing if it can't be reached", url, err, want)
		}
	}
	if _, err := Open(t.Context(), "redis://a", Options{Prefix: "a{b}"}); err == nil || !strings.Contains(err.Error(), "prefix") {
		t.Errorf("a prefix with braces: %v", err)
	}
}

func TestParseURL(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]target{
		"redis://a":                   {addrs: []string{"a:6379"}},
		"REDIS://a:1/2":               {addrs: []string{"a:1"}, db: 2},
		"redis://u:p%40%3A@a:1/?db=3": {addrs: []string{"a:1"}, db: 3, user: "u", password: "p@:"},
		"redis://:p@[::1]:1":          {addrs: []string{"[::1]:1"}, password: "p"},
		"redis://[::1]":               {addrs: []string{"[::1]:6379"}},
		"rediss://u@a?timeout=1s&dial_timeout=2s&client_name=n": {addrs: []string{"a:6379"}, user: "u", tls: true, timeout: time.Second, dial: 2 * time.Second, name: "n"},
		"redis-cluster://:p@a:1,b":                              {addrs: []string{"a:1", "b:6379"}, password: "p", cluster: true},
		"rediss-cluster://a":                                    {addrs: []string{"a:6379"}, cluster: true, tls: true},
		"valkey://a?prefix=shop:1":                              {addrs: []string{"a:6379"}, prefix: "shop:1"},
		"valkeys://a":                                           {addrs: []string{"a:6379"}, tls: true},
		"valkeys-cluster://a,b":                                 {addrs: []string{"a:6379", "b:6379"}, tls: true, cluster: true},
		"redis-sentinel://u:p@a,b:1/2?master_set=m&sentinel_user=x&sentinel_password=y": {addrs: []string{"a:26379", "b:1"}, user: "u", password: "p", db: 2, sentinel: sentinel{"m", "x", "y"}},
		"valkeys-sentinel://a?master_set=m":                                             {addrs: []string{"a:26379"}, tls: true, sentinel: sentinel{set: "m"}},
		"unix:///run/a%20b.sock?db=3":                                                   {addrs: []string{"/run/a b.sock"}, unix: true, db: 3},
		"unix://u:p@/run/redis.sock":                                                    {addrs: []string{"/run/redis.sock"}, unix: true, user: "u", password: "p"},
	} {
		if got, err := parseURL(url); err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("parseURL(%q) = %+v, %v, want %+v", url, got, err, want)
		}
	}
}

// Passwords and TLS come from the URL or from the options. The error says that
// a password is wrong.
func TestOpenPassword(t *testing.T) {
	t.Parallel()
	r := servertest.Redis(t, servertest.RedisOptions{User: "ada", Password: secret, TLS: true})
	config := r.Certificates.Config()
	openAt(t, r.URL(), Options{TLSConfig: config})
	s := openAt(t, "rediss://"+r.Addr(), Options{Username: "ada", Password: secret, TLSConfig: config})
	watch(t, s)
	create(t, s, session("ada"))
	for what, want := range map[string]string{"wrong": "password", "": "password"} {
		_, err := Open(t.Context(), "rediss://"+r.Addr(), Options{Username: "ada", Password: what, TLSConfig: config})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), secret) {
			t.Errorf("with the password %q: %v", what, err)
		}
	}
	if _, err := Open(t.Context(), r.URL(), Options{TLSConfig: &tls.Config{MinVersion: tls.VersionTLS12}}); err == nil ||
		!strings.Contains(err.Error(), "certificate") || strings.Contains(err.Error(), secret) {
		t.Errorf("with a certificate that nobody trusts: %v", err)
	}
	if _, err := Open(t.Context(), "redis://"+r.Addr()+"?timeout=1s", Options{Username: "ada", Password: secret}); err == nil {
		t.Error("without TLS it opens")
	}
}

// fakeRedis is a server that answers each command with what answer returns.
func fakeRedis(t *testing.T, answer func(command []string) string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				r := bufio.NewReader(conn)
				for {
					command, err := readCommand(r)
					if err != nil {
						return
					}
					if _, err := io.WriteString(conn, answer(command)); err != nil {
						return
					}
				}
			}()
		}
	}()
	return l.Addr().String()
}

func readCommand(r *bufio.Reader) ([]string, error) {
	line := func(kind byte) (int, error) {
		text, err := r.ReadString('\n')
		if err != nil {
			return 0, err
		}
		if text[0] != kind {
			return 0, errors.New("not a command")
		}
		return strconv.Atoi(strings.TrimSpace(text[1:]))
	}
	n, err := line('*')
	command := make([]string, n)
	for i := range command {
		size, err := line('$')
		if err != nil {
			return nil, err
		}
		b := make([]byte, size+2)
		if _, err := io.ReadFull(r, b); err != nil {
			return nil, err
		}
		command[i] = string(b[:size])
	}
	return command, err
}

func TestOpenWrongVersion(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"6.2.14", "3.0", "nonsense"} {
		addr := fakeRedis(t, func(command []string) string {
			switch strings.ToUpper(command[0]) {
			case "HELLO":
				return "%2\r\n$7\r\nversion\r\n$" + strconv.Itoa(len(version)) + "\r\n" + version + "\r\n$5\r\nproto\r\n:3\r\n"
			case "TIME":
				return fmt.Sprintf("*2\r\n$10\r\n%d\r\n$1\r\n0\r\n", time.Now().Unix())
			case "INFO":
				if len(command) > 2 {
					return "-ERR syntax error\r\n" // as before version 7
				}
				info := "redis_version:" + version + "\r\nmaxmemory:0\r\n"
				return fmt.Sprintf("$%d\r\n%s\r\n", len(info), info)
			}
			return "+OK\r\n"
		})
		_, err := Open(t.Context(), "redis://"+addr, Options{})
		if err == nil || !strings.Contains(err.Error(), version) || !strings.Contains(err.Error(), "7.0 or newer") {
			t.Errorf("Redis %s: %v", version, err)
		}
	}
}

// Clocks that differ by 5 s lead to one warning and a measurement.
func TestClockApart(t *testing.T) {
	t.Parallel()
	const info = "redis_version:7.0.15\r\nmaxmemory:0\r\n"
	var asked atomic.Int64
	addr := fakeRedis(t, func(command []string) string {
		switch strings.ToUpper(command[0]) {
		case "HELLO":
			return "%2\r\n$7\r\nversion\r\n$5\r\n7.0.1\r\n$5\r\nproto\r\n:3\r\n"
		case "TIME":
			asked.Add(1)
			return fmt.Sprintf("*2\r\n$10\r\n%d\r\n$1\r\n0\r\n", time.Now().Add(-5*time.Second).Unix())
		case "INFO":
			return fmt.Sprintf("$%d\r\n%s\r\n", len(info), info)
		}
		return "+OK\r\n"
	})
	var log safeBuffer
	s := openAt(t, "redis://"+addr, Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if got := s.Stats().ClockOffset; got > -4*time.Second || got < -7*time.Second {
		t.Errorf("ClockOffset = %v, want about -5 s", got)
	}
	for deadline := time.Now().Add(atMost); asked.Load() < 3 && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond)
	}
	if n := strings.Count(log.String(), "level=WARN"); n != 1 {
		t.Errorf("%d warnings: %s", n, log.String())
	}
}

// A safeBuffer may be used concurrently.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *safeBuffer) Reset() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.b.Reset()
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// Open refuses a policy with which Redis drops keys.
func TestOpenEvictionPolicy(t *testing.T) {
	t.Parallel()
	r := servertest.Redis(t, servertest.RedisOptions{MaxMemory: "64mb", Config: []string{"maxmemory-policy allkeys-lru"}})
	if _, err := Open(t.Context(), r.URL(), Options{}); err == nil || !strings.Contains(err.Error(), "noeviction") {
		t.Errorf("Open: %v", err)
	}
}

// redis sends a command to Redis and returns its answer.
func redis(t testing.TB, s *Store, command ...string) any {
	t.Helper()
	answer, err := s.client.Do(t.Context(), s.client.B().Arbitrary(command[0]).Args(command[1:]...).Build()).ToAny()
	if err != nil && err.Error() != "redis nil message" {
		t.Fatalf("%v: %v", command, err)
	}
	return answer
}

// A key of another type in the place of one of the store's is an error that
// names it. Nothing changes it.
func TestForeignKeyInTheWay(t *testing.T) {
	t.Parallel()
	rec := session("ada")
	keys := func(s *Store) []string {
		p := s.placeOf(app, rec.ID)
		of := s.subjectPlace(app, "ada")
		return []string{p.session(rec.ID), p.seen(rec.ID), p.mark(), p.in(), p.due(), of.members(), of.barrier()}
	}
	s := open(t, Options{})
	for i := range keys(s) {
		for _, kind := range []string{"HSET", "SETBIT"} {
			s := open(t, Options{})
			key := keys(s)[i]
			if want := s.expectedType(key); kind == "SETBIT" && want == "string" {
				continue
			}
			redis(t, s, kind, key, "1", "1")
			before := redis(t, s, "DUMP", key)
			_, err := s.Create(t.Context(), app, session0(rec), created(rec))
			if !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), strconv.Quote(key)) {
				t.Errorf("%s %s: Create: %v", kind, key, err)
			}
			if after := redis(t, s, "DUMP", key); after != before {
				t.Errorf("%s %s was changed", kind, key)
			}
		}
	}
	// Reads, and writes of an existing session.
	s = open(t, Options{})
	redis(t, s, "HSET", keys(s)[0], "a", "b")
	if err := s.Get(t.Context(), app, rec.ID, true, new(store.Record)); !errors.Is(err, ErrForeign) {
		t.Errorf("Get: %v", err)
	}
	if _, err := s.End(t.Context(), app, rec.ID, store.ReasonLogout, t0); !errors.Is(err, ErrForeign) {
		t.Errorf("End: %v", err)
	}
	redis(t, s, "HSET", s.subjectPlace(app, "eve").members(), "a", "b")
	if _, _, err := s.List(t.Context(), app, store.ListOptions{Subject: "eve", Limit: 1, Now: t0}); !errors.Is(err, ErrForeign) {
		t.Errorf("List: %v", err)
	}
	if _, err := s.EndSubject(t.Context(), app, "eve", store.ID{}, store.ReasonRevoked, t0); !errors.Is(err, ErrForeign) {
		t.Errorf("EndSubject: %v", err)
	}
}

func session0(rec *store.Record) *store.Record {
	var c store.Record
	c.CopyFrom(rec)
	return &c
}

// A record that is damaged, or that a newer version wrote, is an error that
// names the key. Nothing changes it.
func TestRecordOfANewerVersion(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]error{
		`{"v":2,"anything":true}`:     ErrNewer,
		`{"v":1,"revision":"broken"}`: errDamaged,
		`nonsense`:                    errDamaged,
		``:                            errDamaged,
	} {
		s := open(t, Options{})
		rec := create(t, s, session("ada"))
		key := s.placeOf(app, rec.ID).session(rec.ID)
		redis(t, s, "SET", key, text)
		visitors := session0(rec)
		visitors.Subject = ""
		check := func(what string, err error) {
			t.Helper()
			if !errors.Is(err, want) || !strings.Contains(err.Error(), key) {
				t.Errorf("%s of %q: %v, want %v", what, text, err, want)
			}
		}
		check("Get", s.Get(t.Context(), app, rec.ID, true, new(store.Record)))
		for _, login := range []bool{false, true} {
			_, err := s.Update(t.Context(), app, session0(rec), store.UpdateOptions{Login: login, Arrived: t0, Now: t0})
			check("Update", err)
		}
		check("Touch", s.Touch(t.Context(), app, rec.ID, t0+1, t0+1, store.Client{}))
		check("Confirm", s.Confirm(t.Context(), app, rec.ID, rec.Secret.Hash, store.Confirmation{FirstSeenAt: 1}))
		_, err := s.End(t.Context(), app, rec.ID, store.ReasonLogout, t0)
		check("End", err)
		_, err = s.EndSubject(t.Context(), app, "ada", store.ID{}, store.ReasonRevoked, t0)
		check("EndSubject", err)
		for _, other := range []*store.Record{session0(rec), visitors} {
			if _, err := s.Create(t.Context(), app, other, store.CreateOptions{Arrived: t0 + 1, Now: t0 + 1}); !errors.Is(err, store.ErrExists) && !errors.Is(err, want) {
				t.Errorf("Create over %q: %v", text, err)
			}
		}
		if _, _, err := s.Sweep(t.Context(), app, t0+48*hour, 1000); err != nil {
			t.Errorf("Sweep over %q: %v", text, err)
		}
		if got := redis(t, s, "GET", key); got != text {
			t.Errorf("%q became %q", text, got)
		}
	}
}

// A session that can't be read is missing in a list of the others. It does not
// prevent a login that need not end it.
func TestListBesideAnUnreadableRecord(t *testing.T) {
	t.Parallel()
	for _, text := range []string{`{"v":2,"anything":true}`, `nonsense`} {
		var log safeBuffer
		s := open(t, Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		its := []*store.Record{create(t, s, session("ada")), create(t, s, session("ada")), create(t, s, session("ada"))}
		key := s.placeOf(app, its[1].ID).session(its[1].ID)
		redis(t, s, "SET", key, text)
		for _, subject := range []string{"", "ada"} {
			want := map[store.ID]bool{its[0].ID: true, its[2].ID: true}
			opt := store.ListOptions{Subject: subject, Limit: 1, Now: t0}
			for first := true; first || opt.Cursor != ""; first = false {
				var list []store.Record
				var err error
				if list, opt.Cursor, err = s.List(t.Context(), app, opt); err != nil {
					t.Fatalf("List beside %q: %v", text, err)
				}
				for _, rec := range list {
					if !want[rec.ID] {
						t.Errorf("List beside %q has %v, too much or twice", text, rec.ID)
					}
					delete(want, rec.ID)
				}
			}
			if len(want) > 0 {
				t.Errorf("List beside %q lacks %v", text, want)
			}
			if !strings.Contains(log.String(), key) {
				t.Errorf("no warning names the key: %s", log.String())
			}
			log.Reset()
		}
		rec := session("ada")
		opt := created(rec)
		opt.Limit = store.Limit{Max: 3, Refuse: true}
		if _, err := s.Create(t.Context(), app, rec, opt); !errors.Is(err, store.ErrLimit) {
			t.Errorf("a login that the limit refuses, beside %q: %v", text, err)
		}
		opt.Limit.Refuse = false
		ended, err := s.Create(t.Context(), app, rec, opt)
		if err != nil || len(ended) != 1 || ended[0].ID != its[0].ID {
			t.Errorf("a login at the limit, beside %q, ended %+v: %v", text, ended, err)
		}
		rec = session("ada")
		if _, err := s.Create(t.Context(), app, rec, opt); err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("a login that would have to end %q: %v", text, err)
		}
	}
}

// A write without an answer is uncertain: it is reported neither as done nor as
// failed. It is not sent again.
func TestI6Uncertain(t *testing.T) {
	t.Parallel()
	p := newProxy(t, shared(t, single).Addr())
	prefix := "test-" + newNonce()
	direct := open(t, Options{Prefix: prefix})
	for name, write := range map[string]func(ctx context.Context, s *Store, rec *store.Record) error{
		"Create": func(ctx context.Context, s *Store, rec *store.Record) error {
			_, err := s.Create(ctx, app, session(""), created(rec))
			return err
		},
		"Update": func(ctx context.Context, s *Store, rec *store.Record) error {
			_, err := s.Update(ctx, app, rec, store.UpdateOptions{Arrived: t0, Now: t0})
			return err
		},
		"Touch": func(ctx context.Context, s *Store, rec *store.Record) error {
			return s.Touch(ctx, app, rec.ID, t0+1, t0+1, store.Client{})
		},
		"End": func(ctx context.Context, s *Store, rec *store.Record) error {
			_, err := s.End(ctx, app, rec.ID, store.ReasonLogout, t0)
			return err
		},
		"EndSubject": func(ctx context.Context, s *Store, rec *store.Record) error {
			_, err := s.EndSubject(ctx, app, rec.Subject, store.ID{}, store.ReasonRevoked, t0)
			return err
		},
		"EndAll": func(ctx context.Context, s *Store, rec *store.Record) error { return s.EndAll(ctx, "other", t0) },
	} {
		for _, how := range []string{"cut", "silent", "cancelled"} {
			s := openAt(t, "redis://"+p.addr+"?timeout=500ms", Options{Prefix: prefix})
			rec := create(t, direct, session(name+how))
			_ = s.Get(t.Context(), app, rec.ID, true, new(store.Record))
			ctx, cancel := context.WithCancel(t.Context())
			if how == "cancelled" {
				ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
			}
			restore := p.swallow(how == "cut")
			err := write(ctx, s, rec)
			restore()
			cancel()
			if !errors.Is(err, store.ErrUncertain) {
				t.Errorf("%s, %s: %v", name, how, err)
			}
		}
	}
	// Nobody listens: the failure is certain.
	s := openAt(t, "redis://"+p.addr, Options{Prefix: prefix})
	p.l.Close()
	p.cutAll()
	rec := create(t, direct, session(""))
	deadline := time.Now().Add(atMost)
	for {
		_, err := s.Update(t.Context(), app, rec, store.UpdateOptions{Arrived: t0, Now: t0})
		if err != nil && !errors.Is(err, store.ErrUncertain) {
			break
		}
		if err == nil || time.Now().After(deadline) {
			t.Fatalf("with nobody there: %v", err)
		}
	}
	if err := s.Get(t.Context(), app, rec.ID, true, new(store.Record)); err == nil || errors.Is(err, store.ErrNotFound) {
		t.Errorf("Get with nobody there: %v", err)
	}
}

// A proxy passes bytes to and from Redis. A test can make it swallow the
// answers.
type proxy struct {
	addr      string
	l         net.Listener
	swallowed atomic.Bool
	cut       atomic.Bool
	mu        sync.Mutex
	conns     []net.Conn
}

func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{addr: l.Addr().String(), l: l}
	t.Cleanup(func() {
		l.Close()
		p.cutAll()
	})
	go func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			to, err := net.Dial("tcp", target)
			if err != nil {
				from.Close()
				continue
			}
			p.mu.Lock()
			p.conns = append(p.conns, from, to)
			p.mu.Unlock()
			go func() {
				_, _ = io.Copy(to, from)
				to.Close()
			}()
			go p.answers(from, to)
		}
	}()
	return p
}

// answers copies Redis' answers. A connection that has lost one stays silent: no
// TCP connection delivers later bytes without the earlier ones.
func (p *proxy) answers(to, from net.Conn) {
	defer to.Close()
	b := make([]byte, 1<<16)
	for silent := false; ; {
		n, err := from.Read(b)
		if err != nil || p.cut.Load() {
			return
		}
		silent = silent || p.swallowed.Load()
		if !silent {
			if _, err := to.Write(b[:n]); err != nil {
				return
			}
		}
	}
}

func (p *proxy) swallow(cut bool) (restore func()) {
	p.swallowed.Store(true)
	p.cut.Store(cut)
	return func() {
		p.swallowed.Store(false)
		p.cut.Store(false)
		p.cutAll()
	}
}

func (p *proxy) cutAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		c.Close()
	}
	p.conns = nil
}

// An end that too few replicas have is uncertain: it has happened, but a
// failover may undo it.
func TestWaitReplicas(t *testing.T) {
	t.Parallel()
	s := open(t, Options{WaitReplicas: 1, WaitTimeout: 50 * time.Millisecond})
	a, b := create(t, s, session("ada")), create(t, s, session("ada"))
	ended, err := s.End(t.Context(), app, a.ID, store.ReasonLogout, t0)
	if !errors.Is(err, store.ErrUncertain) || len(ended) != 1 {
		t.Errorf("End: %+v, %v", ended, err)
	}
	ended, err = s.EndSubject(t.Context(), app, "ada", store.ID{}, store.ReasonLogout, t0)
	if !errors.Is(err, store.ErrUncertain) || len(ended) != 1 {
		t.Errorf("EndSubject: %+v, %v", ended, err)
	}
	if err := s.Get(t.Context(), app, b.ID, true, new(store.Record)); !errors.Is(err, store.ErrEnded) {
		t.Errorf("Get: %v", err)
	}
	s = openAt(t, shared(t, cluster).URL(), Options{WaitReplicas: 1})
	rec := create(t, s, session("ada"))
	if ended, err := s.End(t.Context(), app, rec.ID, store.ReasonLogout, t0); err != nil || len(ended) != 1 {
		t.Errorf("End with a replica: %+v, %v", ended, err)
	}
	create(t, s, session("ada"))
	if ended, err := s.EndSubject(t.Context(), app, "ada", store.ID{}, store.ReasonLogout, t0); err != nil || len(ended) != 1 {
		t.Errorf("EndSubject with a replica: %+v, %v", ended, err)
	}
	if err := s.EndAll(t.Context(), app, t0); err != nil {
		t.Errorf("EndAll with a replica: %v", err)
	}
}

// When memory runs out, Redis refuses anonymous sessions first and then logins.
// Existing sessions can be used and ended. With more memory everything works
// again.
func TestI11Full(t *testing.T) {
	t.Parallel()
	r := servertest.Redis(t, servertest.RedisOptions{MaxMemory: "24mb"})
	s := openAt(t, r.URL(), Options{})
	ada := create(t, s, session("ada"))
	big := store.Values(nil).AppendSet(nil, "k", []byte(`"`+strings.Repeat("x", 64<<10)+`"`))
	fill := func(subject string) (n int) {
		for ; n < 10_000; n++ {
			rec := session(subject)
			rec.Values = big
			switch _, err := s.Create(t.Context(), app, rec, created(rec)); {
			case errors.Is(err, store.ErrFull):
				return n
			case err != nil:
				t.Fatal(err)
			}
		}
		t.Fatal("it is never full")
		return n
	}
	fill("")
	if n := fill("bob"); n < 3 {
		t.Errorf("when visitors were refused, there was room for %d logins", n)
	}
	changes := watch(t, s)
	beatUntil(t, s, changes, 1) // the feed works on
	if err := s.Touch(t.Context(), app, ada.ID, t0+1, t0+1, store.Client{UserAgent: "a"}); err != nil {
		t.Errorf("Touch: %v", err)
	}
	ada.Values = big
	_, err := s.Update(t.Context(), app, ada, store.UpdateOptions{Arrived: t0, Now: t0})
	if !errors.Is(err, store.ErrFull) {
		t.Errorf("an Update that grows: %v", err)
	}
	ada.Values = nil
	if _, err := s.Update(t.Context(), app, ada, store.UpdateOptions{Arrived: t0, Now: t0}); err != nil {
		t.Errorf("an Update that shrinks: %v", err)
	}
	if err := s.Confirm(t.Context(), app, ada.ID, ada.Secret.Hash, store.Confirmation{FirstSeenAt: t0}); err != nil {
		t.Errorf("Confirm: %v", err)
	}
	if _, err := s.End(t.Context(), app, ada.ID, store.ReasonLogout, t0); err != nil {
		t.Errorf("End: %v", err)
	}
	if _, err := s.EndSubject(t.Context(), app, "bob", store.ID{}, store.ReasonRevoked, t0); err != nil {
		t.Errorf("EndSubject: %v", err)
	}
	if err := s.EndAll(t.Context(), app, t0); err != nil {
		t.Errorf("EndAll: %v", err)
	}
	if _, _, err := s.Sweep(t.Context(), app, t0+2*hour, 100_000); err != nil {
		t.Errorf("Sweep: %v", err)
	}
	if _, _, err := s.Sweep(t.Context(), app, t0+4*hour, 100_000); err != nil {
		t.Errorf("Sweep: %v", err)
	}
	rec := sessionAt("ada", t0+4*hour)
	create(t, s, rec)
}

// A dead connection that nobody closes is noticed in bounded time. It never
// passes for an empty store.
func TestI9HalfOpen(t *testing.T) {
	t.Parallel()
	p := newProxy(t, shared(t, single).Addr())
	s := openAt(t, "redis://"+p.addr+"?timeout=300ms", Options{})
	rec := create(t, s, session(""))
	p.swallowed.Store(true)
	ctx, cancel := context.WithTimeout(t.Context(), atMost)
	defer cancel()
	if err := s.Get(ctx, app, rec.ID, true, new(store.Record)); err == nil || errors.Is(err, store.ErrNotFound) || ctx.Err() != nil {
		t.Errorf("Get: %v", err)
	}
	p.swallowed.Store(false)
	err := errors.New("not tried")
	for deadline := time.Now().Add(atMost); err != nil && time.Now().Before(deadline); { // each of the pool's connections has to be noticed
		if err = s.Get(t.Context(), app, rec.ID, true, new(store.Record)); errors.Is(err, store.ErrNotFound) {
			break
		}
	}
	if err != nil {
		t.Errorf("Get, when it is over: %v", err)
	}
}

// The error names the missing rights, whichever command Redis refuses.
func TestOpenWithoutRights(t *testing.T) {
	t.Parallel()
	r := servertest.Redis(t, servertest.RedisOptions{})
	user := func(rights ...string) {
		t.Helper()
		if _, err := r.Do(append([]string{"ACL", "SETUSER", "eve", "reset", "on", ">" + secret, "~*"}, rights...)...); err != nil {
			t.Fatal(err)
		}
	}
	url := strings.Replace(r.URL(), "redis://", "redis://eve:"+secret+"@", 1)
	user("+@all", "-info")
	if _, err := Open(t.Context(), url, Options{}); err == nil || !strings.Contains(err.Error(), "ACL") || strings.Contains(err.Error(), secret) {
		t.Errorf("without INFO: %v", err)
	}
	user("+@all", "-zadd")
	s := openAt(t, url, Options{})
	rec := session("ada")
	_, err := s.Create(t.Context(), app, rec, created(rec))
	if err == nil || errors.Is(err, store.ErrUncertain) || !strings.Contains(err.Error(), "ACL") {
		t.Errorf("without ZADD: %v", err)
	}
	user("+@read", "+@write", "+@scripting", "+@connection", "+info", "+time", "+wait") // as the hint says
	s = openAt(t, url, Options{})
	watch(t, s)
	create(t, s, session("ada"))
	sweepAll(t, s, t0)
	if _, err := s.EndSubject(t.Context(), app, "ada", store.ID{}, store.ReasonRevoked, t0); err != nil {
		t.Errorf("with the rights that the hint names: %v", err)
	}
	user("+@all", "-client|tracking")
	if _, err := openAt(t, url, Options{}).Watch(t.Context()); err == nil || !strings.Contains(err.Error(), "ACL") {
		t.Errorf("without CLIENT TRACKING: %v", err)
	}
}
