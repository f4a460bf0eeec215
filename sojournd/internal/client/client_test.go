package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	jsonv2 "github.com/go-json-experiment/json"

	"github.com/sojourn-go/sojourn/sojournd/internal/api/v1"
)

const testKey = "sojourn_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

// A fake is a server with n sessions. Every third belongs to alice.
type fake struct {
	mu       sync.Mutex
	sessions []*v1.Session
	requests []string
	fail     func(w http.ResponseWriter, r *http.Request) bool // answers itself
	pageMost int
}

func newFake(n int) *fake {
	f := &fake{pageMost: 1000}
	base := time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)
	for i := range n {
		s := &v1.Session{
			ID: testID(i), CreatedAt: base, LastSeenAt: base.Add(time.Minute), IdleExpiresAt: base.Add(24 * time.Hour), ExpiresAt: base.Add(30 * 24 * time.Hour),
			Client: v1.Browser{IP: "203.0.113.7", UserAgent: "Mozilla/5.0", Name: "Firefox on Linux"}, AMR: []string{}, Revision: 2,
		}
		if i%3 == 0 {
			s.Subject, s.Level, s.AMR, s.AuthenticatedAt = "alice", 1, []string{"pwd"}, base
		}
		f.sessions = append(f.sessions, s)
	}
	return f
}

func testID(i int) string { return fmt.Sprintf("0198e0c5-0000-7000-8000-%012d", i) }

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.requests = append(f.requests, r.Method+" "+r.URL.String())
	answer := func(status int, media string, body any) {
		w.Header().Set("Content-Type", media)
		w.WriteHeader(status)
		_ = jsonv2.MarshalWrite(w, body)
	}
	problem := func(status int, code, detail string) {
		answer(status, "application/problem+json", v1.Problem{Status: status, Title: http.StatusText(status), Code: code, Detail: detail})
	}
	if f.fail != nil && f.fail(w, r) {
		return
	}
	if r.Header.Get("Authorization") != "Bearer "+testKey {
		problem(401, "unauthorized", "The API key is missing, or not good.")
		return
	}
	id, one := strings.CutPrefix(r.URL.Path, "/v1/sessions/")
	id, touch := strings.CutSuffix(id, "/touch")
	at := slices.IndexFunc(f.sessions, func(s *v1.Session) bool { return s.ID == id })
	query := r.URL.Query()
	switch {
	case one && at < 0:
		problem(404, "session_not_found", "There is no live session of this ID.")
	case one && r.Method == "GET":
		s := *f.sessions[at]
		s.UntilBrowserCloses = s.Subject != ""
		s.Values = v1.Values(`{"cart":{"items":[1,2]},"evil":"` + "\u202e" + `x"}`)
		answer(200, "application/json", s)
	case touch && r.Method == "POST":
		answer(200, "application/json", f.sessions[at])
	case one && r.Method == "DELETE":
		f.sessions = slices.Delete(f.sessions, at, at+1)
		w.WriteHeader(204)
	case r.URL.Path == "/v1/stats":
		answer(200, "application/json", v1.Stats{Sessions: int64(len(f.sessions)), LoggedIn: 1, Anonymous: int64(len(f.sessions) - 1)})
	case r.URL.Path == "/v1/sessions" && r.Method == "GET":
		limit, _ := strconv.Atoi(query.Get("limit"))
		from, _ := strconv.Atoi(query.Get("cursor"))
		if limit < 1 || limit > 1000 {
			problem(422, "invalid_request", "limit must be 1 to 1000.")
			return
		}
		page := v1.Sessions{Sessions: []*v1.Session{}}
		for i := from; i < len(f.sessions); i++ {
			if len(page.Sessions) == min(limit, f.pageMost) {
				page.NextCursor = strconv.Itoa(i)
				break
			}
			s := *f.sessions[i]
			if query.Get("values") == "true" {
				s.Values = v1.Values(`{"evil":"` + "\x7f\u202e" + strings.Repeat("x", 100) + `"}`)
			}
			if query.Get("subject") == "" || s.Subject == query.Get("subject") {
				page.Sessions = append(page.Sessions, &s)
			}
		}
		answer(200, "application/json", page)
	case r.URL.Path == "/v1/sessions" && r.Method == "DELETE":
		n := 0
		f.sessions = slices.DeleteFunc(f.sessions, func(s *v1.Session) bool {
			gone := query.Get("all") == "true" || s.Subject == query.Get("subject") && s.ID != query.Get("except")
			if gone {
				n++
			}
			return gone
		})
		answer(200, "application/json", map[string]int{"ended": n})
	default:
		problem(404, "not_found", "There is nothing at this path.")
	}
}

// A setup is a client of a fake.
type setup struct {
	*Client
	fake     *fake
	out, err *bytes.Buffer
	steps    []int64 // reported
}

func start(t *testing.T, f *fake, change ...func(*Options)) *setup {
	t.Helper()
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	s := &setup{fake: f, out: new(bytes.Buffer), err: new(bytes.Buffer)}
	o := Options{Server: server.URL, Key: testKey, Out: s.out, Err: s.err, Progress: func(_ string, work func(func(done, total int64)) error) error {
		return work(func(done, total int64) {
			if done > total {
				t.Errorf("%d of %d are done", done, total)
			}
			s.steps = append(s.steps, done)
		})
	}}
	for _, c := range change {
		c(&o)
	}
	var err error
	if s.Client, err = New(o); err != nil {
		t.Fatal(err)
	}
	s.now = func() time.Time { return time.Date(2026, 11, 24, 9, 5, 0, 0, time.UTC) }
	return s
}

func asJSON(o *Options) { o.JSON = true }

func (s *setup) lines() []string {
	text := strings.TrimRight(s.out.String(), "\n")
	if text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}

func check(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Error(err)
	case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
		t.Errorf("got %v, want an error that says %q", err, want)
	}
}

func TestListSessions(t *testing.T) {
	for _, c := range []struct {
		have  int
		list  List
		json  bool
		lines int
		more  bool
	}{
		{0, List{}, false, 0, false},
		{0, List{}, true, 0, false},
		{7, List{}, true, 7, false},
		{7, List{}, false, 8, false}, // with the headings
		{7, List{Subject: "alice"}, true, 3, false},
		{7, List{Limit: 6}, true, 6, true},
		{7, List{Limit: 7}, true, 7, false},
		{7, List{Limit: 8}, true, 7, false},
		{2500, List{}, true, 2500, false},
		{2500, List{Limit: 1500}, false, 1501, true},
	} {
		s := start(t, newFake(c.have), func(o *Options) { o.JSON = c.json })
		check(t, s.ListSessions(t.Context(), c.list), "")
		lines := s.lines()
		if len(lines) != c.lines {
			t.Errorf("%+v: %d lines:\n%.500s", c, len(lines), s.out)
		}
		if more := strings.Contains(s.err.String(), "There are more"); more != c.more {
			t.Errorf("%+v: more is %v", c, more)
		}
		for _, line := range lines {
			if c.json && !json.Valid([]byte(line)) {
				t.Errorf("%+v: not JSON: %s", c, line)
			}
		}
		if n := len(s.steps); n == 0 {
			t.Errorf("%+v: no progress", c)
		}
	}
}

func TestListTable(t *testing.T) {
	f := newFake(2)
	f.sessions[1].Subject = "bob\x1b[2J\u202e"
	f.sessions[1].Client = v1.Browser{UserAgent: "curl/8\x07"}
	f.sessions[1].Level, f.sessions[1].Bound = 2, true
	s := start(t, f)
	check(t, s.ListSessions(t.Context(), List{}), "")
	want := `
SESSION                               USER             LEVEL  BOUND  SIGNED IN      LAST SEEN      EXPIRES            IP           CLIENT
0198e0c5-0000-7000-8000-000000000000  alice            1      no     5 minutes ago  4 minutes ago  23 hours from now  203.0.113.7  Firefox on Linux
0198e0c5-0000-7000-8000-000000000001  bob\x1b[2J\u202e  2      yes                   4 minutes ago  23 hours from now               curl/8\a
`
	got := strings.Join(s.lines(), "\n")
	if strings.Join(strings.Fields(got), " ") != strings.Join(strings.Fields(want), " ") {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if strings.ContainsAny(got, "\x1b\x07\u202e") {
		t.Error("a terminal would obey strangers")
	}
}

func TestShowSession(t *testing.T) {
	s := start(t, newFake(2))
	check(t, s.ShowSession(t.Context(), strings.ToUpper(testID(0))), "")
	for _, want := range []string{testID(0), "alice", "pwd", "Firefox on Linux", "Mozilla/5.0", "(5 minutes ago)", "until the browser closes", `"items": [`, `\u202e`} {
		if !strings.Contains(s.out.String(), want) {
			t.Errorf("%s\nlacks %s", s.out, want)
		}
	}
	s = start(t, newFake(2), asJSON)
	check(t, s.ShowSession(t.Context(), testID(1)), "")
	var got v1.Session
	if err := json.Unmarshal(s.out.Bytes(), &got); err != nil || got.ID != testID(1) || len(s.lines()) != 1 {
		t.Errorf("%v %s", err, s.out)
	}
	check(t, s.ShowSession(t.Context(), testID(9)), "no live session "+testID(9))
	for _, id := range []string{"", "x", "../stats", testID(1) + "/values", "%2e%2e"} {
		check(t, s.ShowSession(t.Context(), id), "no session's ID")
	}
	if n := len(s.fake.requests); n != 2 {
		t.Errorf("%d requests: what is no ID was sent", n)
	}
}

// With values, a table has the beginning of them, and JSON has all.
func TestListValues(t *testing.T) {
	s := start(t, newFake(2))
	check(t, s.ListSessions(t.Context(), List{Values: true}), "")
	if got := s.out.String(); !strings.Contains(got, "VALUES") || !strings.Contains(got, `{"evil":"\x7f\u202exxx`) || !strings.Contains(got, "…") || strings.Contains(got, "\u202e") {
		t.Errorf("%s", got)
	}
	s = start(t, newFake(2), asJSON)
	check(t, s.ListSessions(t.Context(), List{Values: true}), "")
	for _, line := range s.lines() {
		if !strings.Contains(line, `"values":{"evil":`) || !strings.Contains(line, strings.Repeat("x", 100)) {
			t.Errorf("%s", line)
		}
	}
}

// Where no list has the sessions of visitors, a list without any says so.
func TestListSealedVisitors(t *testing.T) {
	for _, sealed := range []bool{true, false} {
		f := newFake(0)
		f.fail = func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == "/v1/stats" {
				_ = json.NewEncoder(w).Encode(map[string]any{"sessions": 0, "logged_in": 0, "anonymous": 0, "visitors_sealed": sealed})
				return true
			}
			_, _ = w.Write([]byte(`{"sessions": [], "examined": 0, "share": 1}`))
			return true
		}
		s := start(t, f)
		check(t, s.ListSessions(t.Context(), List{Conditions: url.Values{"logged_in": {"false"}}}), "")
		if got := s.err.String(); strings.Contains(got, "in their cookies") != sealed {
			t.Errorf("sealed %v: %q", sealed, got)
		}
	}
}

func TestSetValue(t *testing.T) {
	f := newFake(1)
	var got []string
	f.fail = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != "PUT" {
			return false
		}
		body, _ := io.ReadAll(r.Body)
		got = append(got, r.URL.EscapedPath()+" "+r.Header.Get("If-Match")+" "+string(body))
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"id":"`+testID(0)+`","values":{"plan":"pro"}}`)
		return true
	}
	s := start(t, f)
	check(t, s.SetValue(t.Context(), testID(0), "a/b", `"pro"`, nil), "")
	check(t, s.SetValue(t.Context(), testID(0), "evil\x1b", "-", strings.NewReader("{\n\"a\": null}\n")), "")
	path := "/v1/sessions/" + testID(0) + "/values/"
	if want := []string{path + `a%2Fb * "pro"`, path + "evil%1B * {\n\"a\": null}\n"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if out := s.out.String(); out != "Set a/b.\nSet evil\\x1b.\n" {
		t.Errorf("%q", out)
	}
	for _, value := range []string{"pro", "", "{", `"a" "b"`} {
		check(t, s.SetValue(t.Context(), testID(0), "plan", value, nil), "not JSON")
	}
	check(t, s.SetValue(t.Context(), "x", "plan", "1", nil), "no session's ID")
	if len(got) != 2 {
		t.Errorf("what is wrong was sent: %q", got)
	}
	s = start(t, f, asJSON)
	check(t, s.SetValue(t.Context(), testID(0), "plan", "1", nil), "")
	if out := s.out.String(); !strings.Contains(out, `"values":{"plan":"pro"}`) {
		t.Errorf("%q", out)
	}
}

func TestTouchSession(t *testing.T) {
	s := start(t, newFake(2))
	check(t, s.TouchSession(t.Context(), testID(1)), "")
	if got := s.out.String(); got != "Without further activity the session expires 23 hours from now.\n" {
		t.Error(got)
	}
	check(t, s.TouchSession(t.Context(), testID(9)), "no live session "+testID(9))
	check(t, s.TouchSession(t.Context(), "x"), "no session's ID")
	s = start(t, newFake(2), asJSON)
	check(t, s.TouchSession(t.Context(), testID(0)), "")
	var got v1.Session
	if err := json.Unmarshal(s.out.Bytes(), &got); err != nil || got.ID != testID(0) || len(s.lines()) != 1 {
		t.Errorf("%v %s", err, s.out)
	}
}

// Ctrl-C ends a command that waits for standard input.
func TestInputInterrupted(t *testing.T) {
	s := start(t, newFake(1))
	for what, run := range map[string]func(context.Context, io.Reader) error{
		"end": func(ctx context.Context, in io.Reader) error { return s.EndSessions(ctx, []string{"-"}, in) },
		"set": func(ctx context.Context, in io.Reader) error { return s.SetValue(ctx, testID(0), "plan", "-", in) },
	} {
		in, end := io.Pipe()
		ctx, interrupt := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- run(ctx, in) }()
		if _, err := end.Write([]byte("1")); err != nil { // now it reads
			t.Fatal(err)
		}
		interrupt()
		if err := <-done; err == nil || !strings.Contains(err.Error(), "interrupted") {
			t.Errorf("%s: %v", what, err)
		}
		_ = end.Close()
	}
}

func TestEndSessions(t *testing.T) {
	s := start(t, newFake(5))
	in := strings.NewReader("\n " + testID(1) + " \n" + testID(9) + "\n\n")
	err := s.EndSessions(t.Context(), []string{testID(0), "-", testID(2)}, in)
	check(t, err, "1 ID: "+testID(9))
	if got := s.out.String(); got != "Ended 3 sessions.\n" {
		t.Errorf("%q", got)
	}
	if fmt.Sprint(s.steps) != "[1 2 3 4]" || len(s.fake.sessions) != 2 {
		t.Errorf("steps %v, left %d", s.steps, len(s.fake.sessions))
	}

	s = start(t, newFake(5), asJSON)
	check(t, s.EndSessions(t.Context(), []string{testID(0), testID(9)}, nil), "no live session")
	if got := s.out.String(); got != `{"ended":1,"missing":["`+testID(9)+`"]}`+"\n" {
		t.Errorf("%q", got)
	}

	// An invalid ID is found before any session ends.
	s = start(t, newFake(5))
	check(t, s.EndSessions(t.Context(), []string{testID(0), "x"}, nil), "no session's ID")
	if len(s.fake.requests) > 0 {
		t.Errorf("%v", s.fake.requests)
	}

	// An error says how many sessions have ended.
	s = start(t, newFake(5))
	s.fake.fail = func(w http.ResponseWriter, r *http.Request) bool {
		if len(s.fake.requests) < 3 {
			return false
		}
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(503)
		fmt.Fprint(w, `{"code":"unavailable","detail":"The store cannot answer.\u001b"}`)
		return true
	}
	err = s.EndSessions(t.Context(), []string{testID(0), testID(1), testID(2), testID(3)}, nil)
	check(t, err, "after 2 of 4: ")
	check(t, err, `The store cannot answer.\x1b (503 unavailable)`)
	if got := s.out.String(); got != "Ended 2 sessions.\n" {
		t.Errorf("%q", got)
	}
}

func TestEndSubject(t *testing.T) {
	f := newFake(9)
	const odd = "a&b=c/ü?#%2f +"
	f.sessions[8].Subject = odd
	s := start(t, f)
	check(t, s.EndSubject(t.Context(), odd, ""), "")
	check(t, s.EndSubject(t.Context(), "alice", testID(3)), "")
	check(t, s.EndSubject(t.Context(), "alice", "x"), "no session's ID")
	if got := s.out.String(); got != "Ended 1 session of "+odd+".\nEnded 2 sessions of alice.\n" {
		t.Errorf("%q", got)
	}
	if len(f.sessions) != 6 {
		t.Errorf("%d are left", len(f.sessions))
	}
	s = start(t, newFake(9), asJSON)
	check(t, s.EndSubject(t.Context(), "alice", ""), "")
	if got := s.out.String(); got != `{"ended":3}`+"\n" {
		t.Errorf("%q", got)
	}
}

func TestEndAll(t *testing.T) {
	s := start(t, newFake(9))
	check(t, s.EndAll(t.Context()), "")
	if got := s.out.String(); len(s.fake.sessions) > 0 || got != "Ended all sessions of the application.\n" {
		t.Errorf("%q; left %d", got, len(s.fake.sessions))
	}
}

func TestStats(t *testing.T) {
	s := start(t, newFake(1234))
	check(t, s.Stats(t.Context()), "")
	if got := strings.Join(strings.Fields(s.out.String()), " "); got != "Live sessions 1,234 signed in 1 anonymous 1,233" {
		t.Errorf("%q", got)
	}
	s = start(t, newFake(3), asJSON)
	check(t, s.Stats(t.Context()), "")
	if got := s.out.String(); got != `{"sessions":3,"logged_in":1,"anonymous":2}`+"\n" {
		t.Errorf("%q", got)
	}
}

func TestUnixSocket(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("needs Unix sockets")
	}
	path := filepath.Join(t.TempDir(), "api.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := &httptest.Server{Listener: l, Config: &http.Server{Handler: newFake(3)}}
	server.Start()
	defer server.Close()
	s := start(t, newFake(0), func(o *Options) { o.Server = "unix:" + path })
	if s.http.Transport.(*http.Transport).Proxy != nil {
		t.Error("a socket behind a proxy")
	}
	check(t, s.Stats(t.Context()), "")
	if !strings.Contains(s.out.String(), "3") {
		t.Errorf("%s", s.out)
	}
	s = start(t, newFake(0), func(o *Options) { o.Server = "unix:" + path + "x" })
	check(t, s.Stats(t.Context()), "nobody listens at unix:")
}

func TestOptions(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const here = "http://127.0.0.1:7081"
	for _, c := range []struct {
		o    Options
		want string
	}{
		{Options{Server: here}, "SOJOURN_KEY"},
		{Options{Server: here, Key: testKey}, ""},
		{Options{Server: here, Key: testKey + "\n"}, ""},
		{Options{Server: here, Key: "two words"}, "one word"},
		{Options{Server: here, Key: "k\x00"}, "one word"},
		{Options{Server: here, Key: "schlüssel"}, "one word"},
		{Options{Server: here, KeyFile: file("good", testKey+"\n", 0o600)}, ""},
		{Options{Server: here, KeyFile: file("group", testKey, 0o640)}, ""},
		{Options{Server: here, KeyFile: file("open", testKey, 0o644)}, "chmod 600"},
		{Options{Server: here, KeyFile: file("empty", " \n", 0o600)}, "is empty"},
		{Options{Server: here, KeyFile: filepath.Join(dir, "nowhere")}, "no such file"},
		{Options{Server: here, KeyFile: dir}, "--key-file"},
		{Options{Server: "http://localhost:1/", Key: "k"}, ""},
		{Options{Server: "http://[::1]:1", Key: "k"}, ""},
		{Options{Server: "https://sessions.example/prefix", Key: "k"}, ""},
		{Options{Server: "http://sessions.example", Key: "k"}, "unencrypted"},
		{Options{Server: "http://127.0.0.1.example", Key: "k"}, "unencrypted"},
		{Options{Server: "http://sessions.example", Key: "k", PlainHTTP: true}, ""},
		{Options{Server: "", Key: "k"}, "no server"},
		{Options{Server: "127.0.0.1:7081", Key: "k"}, "no server"},
		{Options{Server: "https://user:canary@host", Key: "k"}, "isn't shown"},
		{Options{Server: "http://user:can ary@host", Key: "k"}, "isn't shown"},
		{Options{Server: "https://host/?key=canary", Key: "k"}, "isn't shown"},
		{Options{Server: "unix:relative.sock", Key: "k"}, "absolute"},
	} {
		if runtime.GOOS == "windows" && c.want == "chmod 600" {
			continue
		}
		_, err := New(c.o)
		check(t, err, c.want)
		if err != nil && strings.Contains(err.Error(), "ary") {
			t.Errorf("%v", err)
		}
	}
}

// Each answer that is not a success says what to do. None shows the key.
func TestErrors(t *testing.T) {
	closed := httptest.NewServer(nil)
	closed.Close()
	tls := httptest.NewUnstartedServer(newFake(1))
	defer tls.Close()
	tls.Config.ErrorLog = log.New(io.Discard, "", 0)
	tls.StartTLS()
	plain := httptest.NewServer(newFake(1))
	defer plain.Close()
	answers := func(status int, media, body string) func(*Options) {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", media)
			w.Header().Set("Location", "https://elsewhere.example/")
			w.WriteHeader(status)
			fmt.Fprint(w, body)
		}))
		t.Cleanup(server.Close)
		return func(o *Options) { o.Server = server.URL }
	}
	at := func(url string) func(*Options) { return func(o *Options) { o.Server = url } }
	const problem = "application/problem+json; charset=utf-8"
	for _, c := range []struct {
		change func(*Options)
		want   string
	}{
		{at(closed.URL), "is sojournd serve running"},
		{at(tls.URL), "certificate"},
		{at(strings.Replace(plain.URL, "http:", "https:", 1)), "use http://"},
		{func(o *Options) { o.Key = testKey + "x" }, "doesn't accept this API key"},
		{answers(404, "text/html", "<html>"), "is not a Sojourn API: 404"},
		{answers(302, "text/html", ""), "is not a Sojourn API: 302"},
		{answers(200, "text/html", "<html>"), "read the answer of the server"},
		{answers(500, problem, "{"), "is not a Sojourn API"},
		{answers(503, problem, `{"title":"Service Unavailable","status":503,"code":"unavailable","detail":"The store cannot answer at the moment: try again later."}`), "The store cannot answer at the moment: try again later (503 unavailable)"},
	} {
		s := start(t, newFake(1), c.change)
		err := s.Stats(t.Context())
		check(t, err, c.want)
		if err != nil && strings.Contains(err.Error(), testKey) || s.out.Len() > 0 {
			t.Errorf("%v; printed %q", err, s.out)
		}
	}
	s := start(t, newFake(1))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	check(t, s.Stats(ctx), "interrupted before the server answered")
}
