package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/driver"
	"github.com/sojourn-go/sojourn/store/memstore"
)

// A world is an API with two applications, shop and blog, on a new store, with
// a clock that the test controls. Every answer is checked against the
// description.
type world struct {
	testing.TB
	*API
	store   *brittle
	spec    validator.Validator
	keys    map[string]string // by application
	engines map[string]*sojourn.Engine
	log     *logbook

	mu      sync.Mutex
	now     time.Time
	secrets []string // that were issued
	seen    map[string]bool
}

func newWorld(t testing.TB, change ...func(*Options)) *world {
	t.Helper()
	return newWorldOf(t, nil, change...)
}

// bound is an option of the engines in newWorldOf.
var bound = &sojourn.Binding{}

func newWorldOf(t testing.TB, bound *sojourn.Binding, change ...func(*Options)) *world {
	t.Helper()
	w := &world{
		TB: t, store: newBrittle(), keys: map[string]string{}, engines: map[string]*sojourn.Engine{}, log: new(logbook),
		now: time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC), seen: map[string]bool{},
	}
	opt := Options{
		Events: fakeEvents{},
		Log:    slog.New(slog.NewJSONHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	opt.Now = w.time
	for _, f := range change {
		f(&opt)
	}
	var err error
	if w.API, err = New(opt); err != nil {
		t.Fatal(err)
	}
	var apps []App
	for _, name := range []string{"shop", "blog"} {
		e, err := sojourn.New(w.store, sojourn.Options{App: name, Now: w.time, MaxSessions: 5, Adopt: Adoption(), Bound: bound,
			Cookie: sojourn.Cookie{Name: "__Host-" + name + "-session", Visitor: "__Host-" + name + "-visitor"}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = e.Close(context.Background()) })
		key, _ := NewKey()
		w.keys[name], w.engines[name] = key, e
		w.secrets = append(w.secrets, key)
		apps = append(apps, App{Name: name, Sessions: e, Keys: []Key{{"test", HashKey(key)}}})
	}
	t.Cleanup(func() { _ = w.store.Close() })
	w.Set(apps)
	w.spec = spec(t, w.openapi)
	return w
}

// specs caches the validators, because building one takes long.
var specs sync.Map

// spec returns a validator for a description.
func spec(t testing.TB, text []byte) validator.Validator {
	t.Helper()
	if v, ok := specs.Load(string(text)); ok {
		return v.(validator.Validator)
	}
	doc, err := libopenapi.NewDocument(text)
	if err != nil {
		t.Fatal(err)
	}
	v, errs := validator.NewValidator(doc)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	specs.Store(string(text), v)
	return v
}

func (w *world) time() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

// pass advances the clock.
func (w *world) pass(d time.Duration) {
	w.Helper()
	for _, e := range w.engines {
		if err := e.Flush(w.Context()); err != nil {
			w.Fatal(err)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

// An answer is the response to a call.
type answer struct {
	*world
	status int
	header http.Header
	text   string
	body   map[string]any
}

// call sends a request with the shop's key. The body is a string, or a value to
// encode as JSON, or nil.
func (w *world) call(method, path string, body any, headers ...string) *answer {
	w.Helper()
	return w.as("shop", method, path, body, headers...)
}

func (w *world) as(app, method, path string, body any, headers ...string) *answer {
	w.Helper()
	return w.request(w.keys[app], method, path, body, headers...)
}

func (w *world) request(key, method, path string, body any, headers ...string) *answer {
	w.Helper()
	r := request(w, method, path, body)
	if key != "" {
		r.Header.Set("Authorization", "Bearer "+key)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	recorder := httptest.NewRecorder()
	w.ServeHTTP(recorder, r)
	return w.check(r, recorder.Result())
}

func request(t testing.TB, method, path string, body any) *http.Request {
	t.Helper()
	var reader io.Reader
	switch body := body.(type) {
	case nil:
	case string:
		reader = strings.NewReader(body)
	default:
		text, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		reader = bytes.NewReader(text)
	}
	r := httptest.NewRequest(method, path, reader)
	if reader != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	return r
}

// together sends n requests of the shop at once, and returns how many got which
// status.
func (w *world) together(n int, of func(i int) *http.Request) map[int]int {
	results, count := make(chan int, n), map[int]int{}
	for i := range n {
		r := of(i)
		r.Header.Set("Authorization", "Bearer "+w.keys["shop"])
		go func() {
			out := httptest.NewRecorder()
			w.ServeHTTP(out, r)
			results <- out.Code
		}()
	}
	for range n {
		count[<-results]++
	}
	return count
}

// check compares an answer with the description and with the rules for all
// answers.
func (w *world) check(r *http.Request, res *http.Response) *answer {
	w.Helper()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		w.Fatal(err)
	}
	a := &answer{world: w, status: res.StatusCode, header: res.Header, text: string(text)}
	what := r.Method + " " + r.URL.Path
	if res.Header.Get("Content-Type") != "text/event-stream" && len(text) > 0 {
		if err := json.Unmarshal(text, &a.body); err != nil {
			w.Fatalf("%s: %d, not a JSON object: %q", what, res.StatusCode, text)
		}
	}
	if res.StatusCode >= 400 {
		if a.code() == "" || res.Header.Get("Content-Type") != "application/problem+json" || a.body["status"] != float64(res.StatusCode) {
			w.Errorf("%s: %d, no problem: %s", what, res.StatusCode, text)
		}
		w.mu.Lock()
		w.seen[a.code()] = true
		w.mu.Unlock()
	}
	if token, ok := a.body["token"].(string); ok {
		w.mu.Lock()
		w.secrets = append(w.secrets, token)
		w.mu.Unlock()
	}
	if cache := res.Header.Get("Cache-Control"); cache != "no-store" && r.URL.Path != "/openapi.json" {
		w.Errorf("%s: Cache-Control %q", what, cache)
	}
	if a.code() != "not_found" && a.code() != "method_not_allowed" && r.URL.Path != "/openapi.json" && r.Method != "HEAD" {
		res.Body = io.NopCloser(bytes.NewReader(text))
		if ok, errs := w.spec.ValidateHttpResponse(r, res); !ok {
			for _, e := range errs {
				w.Errorf("%s: %d is not as described: %v %v\n%s", what, res.StatusCode, e.Message, e.SchemaValidationErrors, text)
			}
		}
	}
	return a
}

func (a *answer) code() string {
	code, _ := a.body["code"].(string)
	return code
}

// want checks the status and, for a problem, the code.
func (a *answer) want(status int, code string) *answer {
	a.Helper()
	if a.status != status || a.code() != code {
		a.Fatalf("%d %q, want %d %q: %s", a.status, a.code(), status, code, a.text)
	}
	return a
}

func (a *answer) token() string { a.Helper(); return a.at("token").(string) }
func (a *answer) id() string    { a.Helper(); return a.at("session", "id").(string) }

// at returns the value at a path of the body.
func (a *answer) at(path ...string) any {
	a.Helper()
	var v any = a.body
	for _, name := range path {
		m, ok := v.(map[string]any)
		if !ok || m[name] == nil && name != "session" {
			a.Fatalf("no %s in %s", strings.Join(path, "."), a.text)
		}
		v = m[name]
	}
	return v
}

// is checks the value at a path of the body.
func (a *answer) is(want any, path ...string) *answer {
	a.Helper()
	if got := a.at(path...); !reflect.DeepEqual(got, want) {
		a.Fatalf("%s is %#v, want %#v", strings.Join(path, "."), got, want)
	}
	return a
}

type j = map[string]any

// visitor and user create sessions.
func (w *world) visitor(values j) *answer {
	w.Helper()
	return w.call("POST", "/v1/sessions", j{"values": values}).want(201, "")
}

func (w *world) user(subject string) *answer {
	w.Helper()
	return w.call("POST", "/v1/sessions", j{"subject": subject}).want(201, "")
}

func (w *world) resolve(token string) *answer {
	w.Helper()
	return w.call("POST", "/v1/sessions/resolve", j{"token": token}).want(200, "")
}

// alive and over check a token.
func (w *world) alive(token, subject string) {
	w.Helper()
	w.resolve(token).is(subject, "session", "subject")
}

func (w *world) over(token, why string) {
	w.Helper()
	w.resolve(token).is(nil, "session").is(why, "why")
}

// A logbook collects log lines.
type logbook struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// A brittle is a store that fails on demand.
type brittle struct {
	store.Store
	mu   sync.Mutex
	err  error
	left int           // reads that have yet to meet
	met  chan struct{} // closed when they have
}

func newBrittle() *brittle {
	b := new(brittle)
	b.Store = driver.Intercept(memstore.New(), b.call)
	return b
}

func (b *brittle) call(ctx context.Context, c driver.Call) driver.Result {
	switch c.Op {
	case driver.Get, driver.Create, driver.List, driver.End, driver.EndSubject, driver.EndAll, driver.Count:
		if err := b.failure(); err != nil {
			return driver.Result{Err: err}
		}
	}
	r := c.Do(ctx)
	if c.Op == driver.Get {
		b.wait(ctx)
	}
	return r
}

// meet makes the next n reads wait for each other before they return.
func (b *brittle) meet(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.left, b.met = n, make(chan struct{})
}

func (b *brittle) wait(ctx context.Context) {
	b.mu.Lock()
	met, waits := b.met, b.left > 0
	if b.left--; b.left == 0 {
		close(met)
	}
	b.mu.Unlock()
	if waits {
		select {
		case <-met:
		case <-ctx.Done(): // the others failed before they came here
		}
	}
}

func (b *brittle) fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.err = err
}

func (b *brittle) failure() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}

// fakeEvents sends one event and then waits.
type fakeEvents struct{}

func (fakeEvents) Stream(w http.ResponseWriter, r *http.Request, app, lastID string, last int, follow bool) error {
	if lastID == "refuse" {
		return io.ErrClosedPipe
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = fmt.Fprintf(w, "id: %s-1\ndata: {\"last\":%d}\n\n", app, last)
	_ = http.NewResponseController(w).Flush()
	if follow {
		<-r.Context().Done()
	}
	return nil
}
