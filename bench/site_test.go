package bench

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"time"

	"github.com/sojourn-go/sojourn"
)

// An op is one thing that a request does in the application. It is also the
// path of its handler, without the slash.
type op string

const (
	// These are measured. Each handler answers 200 if what it read is right.
	nothing     op = "nothing"      // answers without using the session
	readSubject op = "read-subject" // reads who is logged in
	readTheme   op = "read-theme"   // reads one string
	readProfile op = "read-profile" // reads a struct of three fields
	change      op = "change"       // gives the string another value
	create      op = "create"       // stores a first string in a new session
	loginAny    op = "login-any"    // logs one of many users in
	loginFew    op = "login-few"    // logs one of few users in, who are at their limit
	list        op = "read-list"    // lists the sessions of subject

	// These prepare a session, or check it.
	login       op = "login"        // logs subject in
	fillTwenty  op = "fill-twenty"  // stores 20 keys of 2 KB together, one of them the string
	fill200     op = "fill-200"     // stores 200 bytes in two keys, one of them the string
	fillProfile op = "fill-profile" // stores the struct
	fillSample  op = "fill-sample"  // stores the user and the data of the sample "item"
	readChanged op = "read-changed" // checks that change wrote the string

	// The races consist of these.
	addItem   op = "add-item"   // adds the query's "item" to the cart and answers 5 ms later
	readState op = "read-state" // returns the session's state as JSON
	slowWrite op = "slow-write" // waits at the doors, then writes
	elevate   op = "elevate"    // renews the token, as after a second factor
	rotate    op = "rotate"     // replaces the secret; the old one stays good for a while
	logout    op = "logout"
)

func (o op) reads() bool { return o == nothing || strings.HasPrefix(string(o), "read-") }

func (o op) method() string {
	if o.reads() {
		return "GET"
	}
	return "POST"
}

func (o op) path() string { return "/" + string(o) }

// The application's data.
const (
	subject = "user-0000042"
	theme   = "dark"
)

type profile struct {
	Name  string
	Age   int
	Admin bool
}

var (
	someone = profile{"Ada Lovelace", 36, true}
	ok      = []byte("ok")
)

// twenty holds the 19 keys beside the string in a session of 20 keys. In either
// order of the alphabet, the string lies in their middle.
var twenty = func() (keys []string) {
	for i := range 19 {
		keys = append(keys, fmt.Sprintf("%c-preference-%02d", "az"[i%2], i))
	}
	return keys
}()

// twoHundred is the other value of fill200.
const twoHundred = twentyValue + twentyValue

// twentyValue has 87 bytes: 20 keys with it take 2 KB.
const twentyValue = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.0123456789abcdefghijklmn"

var newThemes = func() (names [1024]string) {
	for i := range names {
		names[i] = fmt.Sprintf("theme-%04d", i)
	}
	return names
}()

func newTheme() string         { return newThemes[rand.Uint32()%uint32(len(newThemes))] }
func isNewTheme(s string) bool { return len(s) == len(newThemes[0]) }

// anyUser returns one of so many users that nobody reaches a limit of sessions.
func anyUser() string { return userID(rand.IntN(100_000)) }

// fewSessions is the limit of sessions where reaching it is measured.
const fewSessions = 3

func userID(i int) string { return fmt.Sprintf("user-%07d", i) }

// think stands for the rest of a handler's work.
func think() { time.Sleep(5 * time.Millisecond) }

// A state is what readState returns.
type state struct {
	Subject string   `json:"subject"`
	Level   int      `json:"level"` // 2 after elevate
	Theme   string   `json:"theme"` // set by create: shows that a token is good
	Late    string   `json:"late"`  // set by slowWrite
	Cart    []string `json:"cart"`
}

func (s state) json() []byte { return must(json.Marshal(s)) }

// A site is the application on one library, with a fresh store.
type site interface {
	supports(op) bool
	// prepare returns a function that sends a request with the cookies and returns
	// the status, as often as it is called. It does as little as possible besides
	// calling the library. One goroutine uses it. answer reads the last response.
	prepare(o op, query string, cookies jar) (send func() int, answer func() response)
	// listen serves the application on a real connection until Close.
	listen() (url string)
	Close() error
}

// A response is not yet applied to a jar.
type response struct {
	status  int
	body    []byte
	cookies []string
}

// A visitor is a browser: it keeps the cookies that it is given.
type visitor struct {
	site    site
	cookies jar
}

func newVisitor(s site) visitor { return visitor{s, jar{}} }

// ask sends a request. An answer other than 200 is an error.
func (v visitor) ask(o op, query string) ([]byte, error) {
	send, answer := v.site.prepare(o, query, v.cookies)
	send()
	r := answer()
	v.cookies.keep(r.cookies)
	if r.status != http.StatusOK {
		return nil, fmt.Errorf("%s: status %d: %s", o, r.status, r.body)
	}
	return r.body, nil
}

// send sends requests, one after the other.
func (v visitor) send(ops ...op) error {
	for _, o := range ops {
		if _, err := v.ask(o, ""); err != nil {
			return err
		}
	}
	return nil
}

// The doors hold the handler of slowWrite in the middle of a request. The races
// take turns, so one pair is enough.
var (
	arrived = make(chan struct{})
	release = make(chan struct{})
)

func waitAtDoors() {
	arrived <- struct{}{}
	<-release
}

// A peer is one library as its users set it up, with its defaults unless a
// comment says otherwise.
type peer struct {
	name string
	open func() site
}

var peers = []peer{
	{"sojourn", openSojourn},
	{"scs", openSCS},
	{"fiber", openFiber}, // called as a fasthttp handler
	{"gorilla-cookie", openGorillaCookie},
	{"gorilla-files", openGorillaFiles},
}

// limits are no session libraries. They show what is left to gain.
var limits = []peer{
	{"bare", openBare},   // a handler without sessions
	{"floor", openFloor}, // finds the cookie, decodes and hashes it, and looks into a sharded map
}

// An httpSite is a site on net/http. Its handlers include the middleware.
type httpSite struct {
	handlers map[op]http.Handler
	close    func() error
	server   *httptest.Server
	bound    http.Handler // renews the proofs of bound sessions; nil: none are

	// copies says that the library changes the request that it is given
	// (gorilla keeps the session in it), so each call needs a new one.
	copies bool
}

func newHTTPSite() *httpSite {
	return &httpSite{handlers: map[op]http.Handler{}, close: func() error { return nil }}
}

func (s *httpSite) supports(o op) bool { return s.handlers[o] != nil }

func (s *httpSite) Close() error {
	if s.server != nil {
		s.server.Close()
	}
	return s.close()
}

func (s *httpSite) listen() string {
	s.server = httptest.NewServer(s.mux())
	return s.server.URL
}

func (s *httpSite) mux() http.Handler {
	mux := http.NewServeMux()
	for o, h := range s.handlers {
		mux.Handle(o.path(), h)
	}
	return mux
}

// serveSite serves the site of a peer on net/http.
func serveSite(name, address string) error {
	for _, p := range append(peers, limits...) {
		if p.name == name {
			return http.ListenAndServe(address, p.open().(*httpSite).mux())
		}
	}
	return fmt.Errorf("no peer %q", name)
}

// browserHeaders are what a browser sends with a request for a page.
var browserHeaders = [][2]string{
	{"User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"},
	{"Accept", "text/html,application/xhtml+xml"},
	{"Accept-Language", "en-GB,en;q=0.8"},
	{"Accept-Encoding", "gzip, deflate, br"},
	{"Sec-Fetch-Site", "same-origin"},
	{"Sec-Fetch-Mode", "navigate"},
}

// newRequest returns a browser's request over HTTPS.
func newRequest(o op, query string, cookies jar) *http.Request {
	r := httptest.NewRequest(o.method(), "https://shop.example"+o.path()+query, http.NoBody)
	r.RemoteAddr, r.TLS = "192.0.2.7:49152", &tls.ConnectionState{}
	for _, h := range browserHeaders {
		r.Header.Set(h[0], h[1])
	}
	if c := cookies.header(); c != "" {
		r.Header.Set("Cookie", c)
	}
	return r
}

// prepare calls the handler without a connection.
func (s *httpSite) prepare(o op, query string, cookies jar) (send func() int, answer func() response) {
	h, r := s.handlers[o], newRequest(o, query, cookies)
	w := &lightWriter{header: http.Header{}}
	fresh := new(http.Request)
	send = func() int {
		clear(w.header)
		w.status, w.body = 0, w.body[:0]
		if s.copies {
			*fresh = *r
			h.ServeHTTP(w, fresh)
		} else {
			h.ServeHTTP(w, r)
		}
		return w.status
	}
	return send, func() response { return response{w.status, w.body, w.header["Set-Cookie"]} }
}

// A lightWriter is a ResponseWriter that costs next to nothing.
type lightWriter struct {
	header http.Header
	status int
	body   []byte
}

func (w *lightWriter) Header() http.Header { return w.header }

func (w *lightWriter) WriteHeader(status int) {
	if w.status == 0 && status >= 200 {
		w.status = status
	}
}

func (w *lightWriter) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	w.body = append(w.body, b...)
	return len(b), nil
}

// A jar holds a browser's cookies by name.
type jar map[string]string

func (j jar) copy() jar { return maps.Clone(j) }

func (j jar) header() string {
	var pairs []string
	for _, name := range slices.Sorted(maps.Keys(j)) {
		pairs = append(pairs, name+"="+j[name])
	}
	return strings.Join(pairs, "; ")
}

// keep applies the Set-Cookie lines of a response.
func (j jar) keep(lines []string) {
	for _, line := range lines {
		c, err := http.ParseSetCookie(line)
		switch {
		case err != nil:
		case c.MaxAge < 0, c.MaxAge == 0 && !c.Expires.IsZero() && c.Expires.Before(time.Now()):
			delete(j, c.Name)
		default:
			j[c.Name] = c.Value
		}
	}
}

// right returns an error unless a handler read what it should.
func right(yes bool) error {
	if !yes {
		return errWrong
	}
	return nil
}

var errWrong = errors.New("read something else")

// answer ends a handler.
func answer(w http.ResponseWriter, body []byte, err error) {
	if err != nil {
		http.Error(w, err.Error(), sojourn.StatusCode(err))
		return
	}
	_, _ = w.Write(body)
}
