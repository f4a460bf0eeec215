package pgstore

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/sojourn-go/sojourn/internal/servertest"
	"github.com/sojourn-go/sojourn/store"
)

const password = "s3cret-pa55"

// wantError checks that Open fails with the right error, says what to do, and
// doesn't contain the password.
func wantError(t *testing.T, url string, opt Options, want error, says string) {
	t.Helper()
	s, err := Open(t.Context(), url, opt)
	if err == nil {
		s.Close()
		t.Fatal("Open succeeds")
	}
	if !errors.Is(err, want) || !strings.Contains(err.Error(), says) || !strings.HasPrefix(err.Error(), "pgstore: ") {
		t.Errorf("the error is %q, want %q and %q", err, want, says)
	}
	for e := err; e != nil; e = errors.Unwrap(e) {
		if strings.Contains(fmt.Sprintf("%v %+v %#v", e, e, e), password) {
			t.Errorf("the error %#v contains the password", e)
		}
	}
}

func TestBadURL(t *testing.T) {
	for url, says := range map[string]string{
		"":                                      "begin with postgres://",
		"mysql://shop:" + password + "@db/shop": "begin with postgres://",
		"host=db password=" + password:          "begin with postgres://",
		"postgres://shop:" + password + "@db:port/shop":                        "port",
		"postgres://shop:" + password + "%zz@db/shop":                          "",
		"postgres://shop:" + password + "@[::1/shop":                           "",
		"postgres://shop:" + password + "@db/shop?sslmode=often":               "sslmode",
		"postgres://shop:" + password + "@db/shop?pool_max_conns=many":         "pool_max_conns",
		"postgres://shop:" + password + "@db/shop?connect_timeout=" + password: "connect_timeout",
	} {
		wantError(t, url, Options{}, ErrURL, says)
		if err := CheckURL(url); !errors.Is(err, ErrURL) || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), password) {
			t.Errorf("CheckURL(%q): %v", url, err)
		}
	}
	if err := CheckURL("postgres://shop@127.0.0.1:1/shop?sslmode=verify-full"); err != nil {
		t.Error(err)
	}
	wantError(t, "postgres://127.0.0.1/shop", Options{FeedURL: "redis://:" + password + "@db"}, ErrURL, "FeedURL")
	for _, schema := range []string{"Shop", "shop;", `"`, "1shop", "pg_shop", "sh op", strings.Repeat("s", 64)} {
		if _, err := Open(t.Context(), "postgres://127.0.0.1/shop", Options{Schema: schema}); !errors.Is(err, errSchemaName) {
			t.Errorf("the schema %q: %v", schema, err)
		}
		if err := CheckURL("postgres://127.0.0.1/shop?schema=" + url.QueryEscape(schema)); !errors.Is(err, ErrURL) || !errors.Is(err, errSchemaName) {
			t.Errorf("the schema %q in the URL: %v", schema, err)
		}
	}
}

// Parameters of other drivers' URLs, and settings that the server doesn't know,
// are reported as mistakes in the URL, not as an unreachable server.
func TestForeignParameters(t *testing.T) {
	for _, parameter := range []string{"currentSchema=shop", "search_path=shop", "connection_limit=5", "pgbouncer=true"} {
		name, _, _ := strings.Cut(parameter, "=")
		if err := CheckURL("postgres://u@127.0.0.1/shop?" + parameter); !errors.Is(err, ErrURL) || !strings.Contains(err.Error(), "parameter "+name) {
			t.Errorf("%s: %v", parameter, err)
		}
	}
	for _, parameter := range []string{"nonsense=1", "statement_timeout=soon"} {
		wantError(t, shared(t).URL()+"&"+parameter, Options{}, ErrURL, "refuses one of its parameters")
	}
}

func TestUnreachable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	wantError(t, "postgres://shop:"+password+"@"+address+"/shop?sslmode=disable", Options{}, ErrUnreached, "host and port")
}

func TestSilentServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // accepts, and never answers
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	wantError(t, "postgres://shop@"+l.Addr().String()+"/shop?sslmode=disable", Options{Timeout: 100 * time.Millisecond}, ErrUnreached, "check that it runs")
}

func TestWrongPassword(t *testing.T) {
	t.Parallel()
	p := servertest.PostgreSQL(t, servertest.PostgreSQLOptions{Password: "another", Config: []string{"fsync = off"}})
	wantError(t, strings.Replace(p.URL(), ":another@", ":"+password+"@", 1), Options{}, ErrDenied, "password")
	wantError(t, p.URL(), Options{Password: password}, ErrDenied, "password")
	wantError(t, strings.Replace(p.URL(), "/sojourn?", "/nowhere?", 1), Options{}, ErrUnreached, "no such database")
	s := mustOpen(t, strings.Replace(p.URL(), ":another@", ":"+password+"@", 1), Options{Password: "another"})
	if _, err := s.Watch(t.Context()); err != nil { // the feed uses the password, too
		t.Error(err)
	}
	// A user without the right to create schemas.
	if err := p.SQL("sojourn", "CREATE ROLE guest LOGIN PASSWORD 'guest'"); err != nil {
		t.Fatal(err)
	}
	guest := strings.Replace(p.URL(), "sojourn:another@", "guest:guest@", 1)
	wantError(t, guest, Options{}, ErrDenied, "own the schema")
	wantError(t, guest, Options{Schema: "other"}, ErrDenied, "create schemas")
}

func TestUnsuitableDatabase(t *testing.T) {
	url := shared(t).URL()
	execute(t, url, "CREATE DATABASE ascii ENCODING 'SQL_ASCII' TEMPLATE template0", "CREATE DATABASE serial",
		"ALTER DATABASE serial SET default_transaction_isolation = 'serializable'", "CREATE DATABASE readonly", "ALTER DATABASE readonly SET default_transaction_read_only = on")
	in := func(name string) string { return strings.Replace(url, "/sojourn?", "/"+name+"?", 1) }
	wantError(t, in("ascii"), Options{}, ErrUnsuitable, "UTF8")
	wantError(t, in("serial"), Options{}, ErrUnsuitable, "read committed")
	wantError(t, in("readonly"), Options{}, ErrReadOnly, "point the URL to the primary")
}

// A user who may only read the schema gets an error at the first write.
func TestReaderOnly(t *testing.T) {
	base := shared(t).URL()
	schema := schemaOf(t, base)
	mustOpen(t, base, Options{Schema: schema})
	role := "reader_" + schema
	execute(t, base, "CREATE ROLE "+role+" LOGIN PASSWORD 'secret'", "GRANT USAGE ON SCHEMA "+schema+" TO "+role, "GRANT SELECT ON ALL TABLES IN SCHEMA "+schema+" TO "+role)
	t.Cleanup(func() { execute(t, base, "DROP OWNED BY "+role, "DROP ROLE "+role) })
	u, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(role, "secret")
	s := mustOpen(t, u.String(), Options{Schema: schema})
	if _, err := s.EndSubject(t.Context(), "shop", "ada", store.ID{}, store.ReasonRevoked, 1); !errors.Is(err, ErrDenied) || errors.Is(err, store.ErrUncertain) || !strings.Contains(err.Error(), "grant") {
		t.Errorf("EndSubject: %v", err)
	}
}

func TestForeignSchema(t *testing.T) {
	url := shared(t).URL()
	for what, statements := range map[string][]string{
		"a table":            {"CREATE TABLE %s.sessions (id int)"},
		"another migration":  {"CREATE TABLE %s.goose_db_version (id int, version_id bigint, is_applied bool)"},
		"a view of the name": {"CREATE VIEW %s.apps AS SELECT 1"},
	} {
		schema := schemaOf(t, url)
		execute(t, url, "CREATE SCHEMA "+schema)
		for _, text := range statements {
			execute(t, url, fmt.Sprintf(text, schema))
		}
		before := objects(t, url, schema)
		wantError(t, url, Options{Schema: schema}, ErrNotOurs, "choose another one by schema=NAME")
		if after := objects(t, url, schema); after != before {
			t.Errorf("%s: Open has changed the schema from %s to %s", what, before, after)
		}
	}
	schema := schemaOf(t, url) // an empty schema
	execute(t, url, "CREATE SCHEMA "+schema)
	mustOpen(t, url, Options{Schema: schema})
	half := schemaOf(t, url) // a schema whose creation was interrupted
	execute(t, url, "CREATE SCHEMA "+half, fmt.Sprintf("CREATE TABLE %s.goose_db_version (LIKE %s.goose_db_version INCLUDING ALL)", half, schema),
		fmt.Sprintf("INSERT INTO %s.goose_db_version (version_id, is_applied) VALUES (0, true)", half))
	createOne(t, mustOpen(t, url, Options{Schema: half}))
}

func objects(t *testing.T, url, schema string) string {
	t.Helper()
	return query(t, url, "SELECT relname::text || relkind::text FROM pg_class WHERE relnamespace = to_regnamespace($1) ORDER BY 1", schema)
}

func TestNewerSchema(t *testing.T) {
	s := openNew(t)
	url := shared(t).URL()
	execute(t, url, in(s.opt.Schema, "INSERT INTO sojourn.goose_db_version (version_id, is_applied) VALUES (99, true)"))
	before := objects(t, url, s.opt.Schema)
	wantError(t, url, Options{Schema: s.opt.Schema}, ErrNewer, "use a newer program")
	if after := objects(t, url, s.opt.Schema); after != before {
		t.Errorf("Open has changed the schema from %s to %s", before, after)
	}
}

// TestOldServer connects to a server that reports PostgreSQL 12.
func TestOldServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		b := pgproto3.NewBackend(conn, conn)
		if _, err := b.ReceiveStartupMessage(); err != nil {
			return
		}
		b.Send(&pgproto3.AuthenticationOk{})
		b.Send(&pgproto3.ParameterStatus{Name: "server_version", Value: "12.22 (Debian 12.22-1)"})
		b.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
		_ = b.Flush()
		for {
			switch m, err := b.Receive(); m.(type) {
			case *pgproto3.Query: // asks whether the server takes writes
				b.Send(&pgproto3.RowDescription{Fields: []pgproto3.FieldDescription{{Name: []byte("transaction_read_only"), DataTypeOID: 25, DataTypeSize: -1}}})
				b.Send(&pgproto3.DataRow{Values: [][]byte{[]byte("off")}})
				b.Send(&pgproto3.CommandComplete{CommandTag: []byte("SHOW")})
				b.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
				_ = b.Flush()
			default:
				if err != nil {
					return
				}
			}
		}
	}()
	wantError(t, "postgres://shop@"+l.Addr().String()+"/shop?sslmode=disable", Options{}, ErrOldServer, "PostgreSQL 12.22 (Debian 12.22-1): 13 or newer")
}

func TestManyOpenAtOnce(t *testing.T) {
	url := shared(t).URL()
	schema := schemaOf(t, url)
	var wg sync.WaitGroup
	stores := make([]*Store, 16)
	for i := range stores {
		wg.Go(func() {
			var err error
			if stores[i], err = Open(t.Context(), url, Options{Schema: schema, MaxConns: 2}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	now := store.TimeOf(time.Now())
	for _, s := range stores {
		if s == nil {
			continue
		}
		if _, err := s.Create(t.Context(), "shop", newSession("", now), store.CreateOptions{Arrived: now, Now: now}); err != nil {
			t.Error(err)
		}
		s.Close()
	}
	if got := query(t, url, in(schema, "SELECT count(*)::text FROM sojourn.goose_db_version WHERE version_id > 0")); got != fmt.Sprint(newestVersion()) {
		t.Errorf("%d migrations were recorded %s times", newestVersion(), got)
	}
}

// A recorder is a log that a test reads.
type recorder struct {
	mu   sync.Mutex
	text strings.Builder
}

func (r *recorder) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(b)
}

func (r *recorder) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}

func (r *recorder) log() *slog.Logger { return slog.New(slog.NewTextHandler(r, nil)) }

func TestClocksApart(t *testing.T) {
	var r recorder
	var c clock
	c.note(-time.Second, time.Millisecond, r.log())
	c.note(5*time.Second, 4*time.Second, r.log()) // perhaps the network was slow
	if r.String() != "" {
		t.Errorf("warned too early: %s", r.String())
	}
	for range 3 {
		c.note(5*time.Second, time.Millisecond, r.log())
	}
	if got := r.String(); strings.Count(got, "level=WARN") != 1 || !strings.Contains(got, "server_ahead=5s") || c.offset() != 5*time.Second {
		t.Errorf("offset %v, warned: %s", c.offset(), got)
	}
	c.note(0, time.Millisecond, r.log())
	c.note(-5*time.Second, time.Millisecond, r.log())
	if got := r.String(); strings.Count(got, "level=WARN") != 2 || strings.Count(got, "level=INFO") != 1 {
		t.Errorf("warned: %s", got)
	}
}

func TestClockIsMeasured(t *testing.T) {
	s := openNew(t)
	s.clock.note(time.Hour, 0, slog.New(slog.DiscardHandler))
	if err := s.Beat(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if d := s.Stats().ClockOffset; d.Abs() > time.Minute { // the server is on this machine
		t.Errorf("ClockOffset = %v", d)
	}
}

func TestFull(t *testing.T) {
	s := openNew(t)
	ctx, now := t.Context(), store.TimeOf(time.Now())
	opt := store.CreateOptions{Arrived: now, Now: now, Key: "key"}
	rec := newSession("", now)
	if _, err := s.Create(ctx, "shop", rec, opt); err != nil {
		t.Fatal(err)
	}
	create := func(subject string) error {
		_, err := s.Create(ctx, "shop", newSession(subject, now), store.CreateOptions{Arrived: now, Now: now})
		return err
	}
	s.room.Store(roomForLogins)
	if err := create(""); !errors.Is(err, store.ErrFull) {
		t.Errorf("an anonymous session: %v", err)
	}
	if err := create("alice"); err != nil {
		t.Errorf("a login: %v", err)
	}
	if _, err := s.Create(ctx, "shop", newSession("", now), opt); !errors.Is(err, store.ErrRepeated) {
		t.Errorf("a repeated Create: %v", err)
	}
	s.room.Store(noRoom)
	if err := create("alice"); !errors.Is(err, store.ErrFull) {
		t.Errorf("a login: %v", err)
	}
	if _, err := s.Update(ctx, "shop", rec, store.UpdateOptions{Arrived: now, Now: now}); err != nil {
		t.Errorf("an update of the same size: %v", err)
	}
	before := rec.Revision
	larger := *rec
	larger.Values = rec.Values.AppendSet(nil, "more", []byte(`"x"`))
	if _, err := s.Update(ctx, "shop", &larger, store.UpdateOptions{Arrived: now, Now: now}); !errors.Is(err, store.ErrFull) || larger.Revision != before {
		t.Errorf("a larger update: %v", err)
	}
	if _, err := s.End(ctx, "shop", rec.ID, store.ReasonLogout, now); err != nil {
		t.Errorf("End: %v", err)
	}
}

func TestFullnessIsMeasured(t *testing.T) {
	s := openNew(t)
	fill(t, s, 2000, store.TimeOf(time.Now()))
	execute(t, shared(t).URL(), "SELECT pg_stat_force_next_flush()")
	deadline := time.Now().Add(20 * time.Second) // until the server has counted
	for _, c := range []struct{ max, want int }{{100 << 20, roomForAll}, {1000, noRoom}} {
		s.opt.MaxBytes = int64(c.max)
		for {
			if err := s.measure(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := int(s.room.Load()); got == c.want {
				break
			} else if time.Now().After(deadline) {
				t.Fatalf("%d bytes at most: %d, want %d", c.max, got, c.want)
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
}
