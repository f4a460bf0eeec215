package main

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/sojournd/internal/api"
	"github.com/sojourn-go/sojourn/sojournd/internal/events"
	"github.com/sojourn-go/sojourn/store/memstore"
)

// A site is two applications on a real API.
type site struct {
	t       *testing.T
	url     string
	api     http.Handler
	hub     *events.Hub
	engines map[string]*sojourn.Engine
	keys    map[string]string
}

func startSite(t *testing.T) *site {
	t.Helper()
	s := &site{t: t, hub: events.New(events.Options{}), engines: map[string]*sojourn.Engine{}, keys: map[string]string{}}
	a, err := api.New(api.Options{Events: s.hub})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.hub.Configure([]events.App{{Name: "shop"}, {Name: "blog"}}); err != nil {
		t.Fatal(err)
	}
	st := memstore.New()
	var apps []api.App
	for _, name := range []string{"shop", "blog"} {
		engine, err := sojourn.New(st, sojourn.Options{App: name, OnEvent: s.hub.Observer(name)})
		if err != nil {
			t.Fatal(err)
		}
		key, _ := api.NewKey()
		s.engines[name], s.keys[name] = engine, key
		apps = append(apps, api.App{Name: name, Sessions: engine, Keys: []api.Key{{Name: "test", Hash: api.HashKey(key)}}})
	}
	a.Set(apps)
	s.api = a
	server := httptest.NewServer(a)
	s.url = server.URL
	t.Cleanup(func() {
		s.hub.EndStreams()
		server.Close()
		for _, e := range s.engines {
			_ = e.Close(context.Background())
		}
		s.hub.Close(context.Background())
		_ = st.Close()
	})
	return s
}

// signIn creates a session and returns its ID.
func (s *site) signIn(app, subject string) string {
	s.t.Helper()
	session := s.engines[app].Begin(s.t.Context(), sojourn.Request{Client: sojourn.Client{UserAgent: "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"}})
	if err := session.Login(subject); err != nil {
		s.t.Fatal(err)
	}
	if err := session.Commit(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	if err := s.engines[app].Flush(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	return session.ID().String()
}

// command runs the client with an application's key.
func (s *site) command(app string, wantCode int, args ...string) (stdout, stderr string) {
	s.t.Helper()
	s.t.Setenv("SOJOURN_KEY", s.keys[app])
	s.t.Setenv("SOJOURN_SERVER", s.url)
	code, stdout, stderr := call(s.t, args...)
	if code != wantCode {
		s.t.Fatalf("%q: exit code %d, want %d: %s", args, code, wantCode, stderr)
	}
	for _, key := range s.keys {
		if strings.Contains(stdout+stderr, key) {
			s.t.Errorf("%q prints a key", args)
		}
	}
	return stdout, stderr
}

// The client's commands work with the server's API.
func TestClientAgainstServer(t *testing.T) {
	s := startSite(t)
	const odd = "a b/ü&%2f?#"
	ada, ada2, ben, other := s.signIn("shop", odd), s.signIn("shop", odd), s.signIn("shop", "ben"), s.signIn("blog", odd)

	list, _ := s.command("shop", 0, "sessions", "list")
	for _, want := range []string{ada, ada2, ben, odd, "Firefox on Linux", "SESSION"} {
		if !strings.Contains(list, want) {
			t.Errorf("%s\nlacks %s", list, want)
		}
	}
	if strings.Contains(list, other) {
		t.Error("another application's session is listed")
	}
	list, _ = s.command("shop", 0, "sessions", "list", "--json", "--subject", odd)
	if n := strings.Count(list, "\n"); n != 2 || !strings.Contains(list, ada) || !strings.Contains(list, ada2) {
		t.Errorf("%s", list)
	}
	list, note := s.command("shop", 0, "sessions", "list", "--json", "--limit", "1")
	if n := strings.Count(list, "\n"); n != 1 || !strings.Contains(note, "There are more") {
		t.Errorf("%s%s", list, note)
	}
	for condition, want := range map[string]int{
		"--subject-prefix=a b": 2, "--user-agent=FIREFOX": 3, "--user-agent=chrome": 0, "--anonymous": 0, "--logged-in": 3, "--remembered": 0,
		"--network=2001:db8::/32": 0, "--created-from=1h": 3, "--seen-to=1h": 0, "--created-to=2026-01-01T00:00:00Z": 0, "--level=3": 0,
	} {
		list, _ = s.command("shop", 0, "sessions", "list", "--json", condition)
		if n := strings.Count(list, "\n"); n != want {
			t.Errorf("%s: %d sessions, want %d: %s", condition, n, want, list)
		}
	}
	list, note = s.command("shop", 0, "sessions", "list", "--limit", "1", "--logged-in", "--subject", odd)
	if !strings.Contains(list, "a b") || strings.Contains(list, ben) || !strings.Contains(note, "There may be more") {
		t.Errorf("%s%s", list, note)
	}

	shown, _ := s.command("shop", 0, "sessions", "show", ben)
	if !strings.Contains(shown, "ben") || !strings.Contains(shown, "no values") {
		t.Error(shown)
	}
	if _, err := s.command("shop", 1, "sessions", "show", other); !strings.Contains(err, "no live session") {
		t.Error(err)
	}

	list, _ = s.command("shop", 0, "sessions", "list", "--json", "--values", "--subject", "ben")
	if !strings.Contains(list, `"values":{}`) {
		t.Error(list)
	}
	for key, value := range map[string]string{"plan": `{"name":"pro","until":null}`, "a/b c?%2f": "null", "..": `"dots"`} {
		if set, _ := s.command("shop", 0, "sessions", "set", ben, key, value); set != "Set "+key+".\n" {
			t.Error(set)
		}
	}
	shown, _ = s.command("shop", 0, "sessions", "show", ben, "--json")
	if !strings.Contains(shown, `"values":{"..":"dots","a/b c?%2f":null,"plan":{"name":"pro","until":null}}`) {
		t.Error(shown)
	}
	if _, err := s.command("shop", 1, "sessions", "set", other, "plan", "1"); !strings.Contains(err, "no live session") {
		t.Error(err)
	}
	if _, err := s.command("shop", 1, "sessions", "set", ben, "/", "1"); !strings.Contains(err, "nothing at this path") {
		t.Error(err)
	}
	if _, err := s.command("shop", 1, "sessions", "set", ben, "plan", `"\u0000"`); !strings.Contains(err, "U+0000") {
		t.Error(err)
	}
	touched, _ := s.command("shop", 0, "sessions", "touch", ben)
	if !strings.Contains(touched, "the session expires") {
		t.Error(touched)
	}
	if _, err := s.command("shop", 1, "sessions", "touch", other); !strings.Contains(err, "no live session") {
		t.Error(err)
	}

	stats, _ := s.command("shop", 0, "stats", "--json")
	if stats != `{"sessions":3,"logged_in":3,"anonymous":0}`+"\n" {
		t.Error(stats)
	}

	if _, err := s.command("shop", 1, "sessions", "end", ben, other); !strings.Contains(err, other) {
		t.Error(err)
	}
	ended, _ := s.command("shop", 0, "subjects", "end", odd, "--except", ada)
	if ended != "Ended 1 session of "+odd+".\n" {
		t.Error(ended)
	}
	list, _ = s.command("shop", 0, "sessions", "list", "--json")
	if strings.Count(list, "\n") != 1 || !strings.Contains(list, ada) {
		t.Error(list)
	}
	if err := s.engines["shop"].Flush(t.Context()); err != nil {
		t.Fatal(err)
	}

	told, _ := s.command("shop", 0, "events", "--json")
	var kinds []string
	for line := range strings.Lines(told) {
		var e struct{ Kind, Session, Reason string }
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Errorf("%q: %v", line, err)
		}
		if kinds = append(kinds, e.Kind+" "+e.Reason); e.Session == other {
			t.Error("another application's event")
		}
	}
	if got := strings.Join(kinds[len(kinds)-2:], ","); got != "ended revoked,ended revoked" {
		t.Errorf("%q", kinds)
	}
	told, _ = s.command("shop", 0, "events", "--last", "1")
	if strings.Count(told, "\n") != 1 || !strings.Contains(told, "reason revoked") {
		t.Error(told)
	}

	s.command("shop", 0, "sessions", "end", "--all", "--yes")
	if list, _ := s.command("shop", 0, "sessions", "list", "--json"); list != "" {
		t.Error(list)
	}
	if list, _ := s.command("blog", 0, "sessions", "list", "--json"); !strings.Contains(list, other) {
		t.Error("all of one application ended another's")
	}
	s.keys["nobody"] = "sojourn_nobody"
	if _, err := s.command("nobody", 1, "stats"); !strings.Contains(err, "doesn't accept this API key") {
		t.Error(err)
	}
}

// events --follow prints later events. Ctrl-C ends it without an error.
func TestClientFollows(t *testing.T) {
	s := startSite(t)
	t.Setenv("SOJOURN_KEY", s.keys["shop"])
	before := s.signIn("shop", "before")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out, seen := newPrintout("before")
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, []string{"events", "--follow", "--json", "--server", s.url}, output{out, out})
	}()
	select {
	case <-seen: // the last few that had happened
	case <-time.After(time.Minute):
		t.Fatalf("printed only %s", out)
	}
	after := s.signIn("shop", "after")
	for deadline := time.Now().Add(time.Minute); !strings.Contains(out.String(), after); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("printed only %s", out)
		}
	}
	cancel()
	if c := <-code; c != 0 {
		t.Errorf("exit code %d\n%s", c, out)
	}
	if !strings.Contains(out.String(), before) {
		t.Error(out)
	}
}

// The client works over a Unix socket, with the key in a file.
func TestClientOverSocket(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no Unix sockets in the tests there")
	}
	s := startSite(t)
	dir := t.TempDir()
	l, err := net.Listen("unix", filepath.Join(dir, "api.sock"))
	if err != nil {
		t.Fatal(err)
	}
	server := &httptest.Server{Listener: l, Config: &http.Server{Handler: s.api}}
	server.Start()
	defer server.Close()
	s.signIn("shop", "ada")
	keyFile := filepath.Join(dir, "key")
	if err := os.WriteFile(keyFile, []byte(s.keys["shop"]+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SOJOURN_KEY", "")
	code, stdout, stderr := call(t, "stats", "--json", "--server", "unix:"+l.Addr().String(), "--key-file", keyFile)
	if code != 0 || !strings.Contains(stdout, `"logged_in":1`) {
		t.Errorf("%d %s %s", code, stdout, stderr)
	}
}
