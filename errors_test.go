package sojourn_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/sojourn-go/sojourn"
)

var errInside = errors.New("dial tcp 10.1.2.3:5432: password of shop_rw refused")

// Error tells the visitor the status and no internal details, with a session
// and without.
func TestErrorTellsNothingOfTheInside(t *testing.T) {
	log := captureLog(t)
	w := newWebUnstarted(t, nil)
	for _, test := range []struct {
		err    error
		status int
		retry  bool
	}{
		{sojourn.ErrUnavailable, 503, true},
		{sojourn.ErrFull, 503, true},
		{sojourn.ErrThrottled, 429, true},
		{sojourn.ErrUncertain, 503, false}, // a retry might do it twice
		{sojourn.ErrConflict, 409, false},
		{sojourn.ErrTooLarge, 413, false},
		{sojourn.ErrAnonymous, 401, false},
		{sojourn.ErrCommitted, 500, false},
		{errInside, 500, false},
		{nil, 500, false},
	} {
		err := test.err
		if err != nil {
			err = fmt.Errorf("%w: %w", err, errInside)
		}
		fail := http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			h := rw.Header()
			h.Set("Content-Type", "application/pdf")
			h.Set("Content-Length", "1000")
			h.Set("Location", "/done")
			h.Set("Cache-Control", "public, max-age=60")
			h.Set("Cdn-Cache-Control", "max-age=60")
			sojourn.Error(rw, r, err)
		})
		for name, h := range map[string]http.Handler{"with a session": w.Handler(fail), "without": fail} {
			log.Reset()
			sojourn.ForgetOutage()
			rw := httptest.NewRecorder()
			h.ServeHTTP(rw, httptest.NewRequest("GET", "http://localhost/", nil))
			answer := rw.Result()
			if rw.Code != test.status || (answer.Header.Get("Retry-After") != "") != test.retry {
				t.Errorf("%v, %s: %d, Retry-After %q", test.err, name, rw.Code, answer.Header.Get("Retry-After"))
			}
			if text := rw.Body.String(); strings.Contains(text, "dial") || strings.Contains(text, "sojourn:") || text == "" {
				t.Errorf("%v, %s: %q", test.err, name, text)
			}
			if answer.Header.Get("Cache-Control") != "no-store" || answer.Header["Cdn-Cache-Control"] != nil ||
				answer.Header["Location"] != nil || !strings.HasPrefix(answer.Header.Get("Content-Type"), "text/plain") {
				t.Errorf("%v, %s: %v", test.err, name, answer.Header)
			}
			if logged := strings.Contains(log.String(), "dial tcp"); logged != (test.status >= 500 && err != nil) {
				t.Errorf("%v, %s: logged: %q", test.err, name, log)
			}
		}
	}
}

// The log says why the store can't answer, but not once for each request. A
// client that has gone away is no outage.
func TestOutageIsLogged(t *testing.T) {
	log := captureLog(t)
	sojourn.ForgetOutage()
	w := newWebUnstarted(t, nil)
	cookie := "__Host-session=" + w.loggedIn("ann").session
	w.calls.fail(always(errors.New("disk on fire"), "Get"), nil)
	ask := func(ctx context.Context) {
		t.Helper()
		r := httptest.NewRequestWithContext(ctx, "GET", "http://localhost/who", nil)
		r.Header.Set("Cookie", cookie)
		rw := httptest.NewRecorder()
		w.server.Config.Handler.ServeHTTP(rw, r)
		w.want("status", rw.Code, 503)
	}
	gone, leave := context.WithCancel(t.Context())
	leave()
	ask(gone)
	w.want("log of a client that has gone", log.String(), "")
	for range 100 {
		ask(t.Context())
	}
	if n := strings.Count(log.String(), "disk on fire"); n == 0 || n > 50 { // one, unless the machine is very slow
		t.Errorf("%d lines: %s", n, log)
	}
}

// What the handler stored before it answered with an error below 500 is kept,
// as with any other response.
func TestErrorWithinARequest(t *testing.T) {
	w := newWeb(t, func(rw http.ResponseWriter, r *http.Request, s *sojourn.Session) {
		count.Update(s, increment)
		if r.URL.Path == "/conflict" {
			sojourn.Error(rw, r, sojourn.ErrConflict)
		} else {
			sojourn.Error(rw, r, sojourn.ErrUnavailable)
		}
	})
	b := w.surfer()
	b.get("/conflict").wantStatus(t, 409)
	w.want("count", b.get("/count").body, "1")
	b.get("/unavailable").wantStatus(t, 503)
	w.want("count", b.get("/count").body, "1")
}

// OnError may write the response of Error too, or leave it to Error.
func TestErrorHonoursOnError(t *testing.T) {
	w := newWeb(t, func(rw http.ResponseWriter, r *http.Request, s *sojourn.Session) {
		switch r.URL.Path {
		case "/full":
			sojourn.Error(rw, r, sojourn.ErrFull)
		case "/conflict":
			sojourn.Error(rw, r, sojourn.ErrConflict)
		default:
			sojourn.Error(rw, r, sojourn.ErrEnded)
		}
	}, options(func(o *sojourn.Options) {
		o.OnError = func(rw http.ResponseWriter, r *http.Request, err error) {
			switch {
			case errors.Is(err, sojourn.ErrFull):
				rw.WriteHeader(http.StatusTeapot)
				io.WriteString(rw, "come back later")
			case errors.Is(err, sojourn.ErrConflict):
				sojourn.Error(struct{ http.ResponseWriter }{rw}, r.Clone(r.Context()), err) // as if Error had not called it
			}
		}
	}))
	b := w.surfer()
	a := b.get("/full").wantStatus(t, http.StatusTeapot)
	w.want("body", a.body, "come back later")
	w.want("Cache-Control", a.Header.Get("Cache-Control"), "no-store")
	for _, path := range []string{"/conflict", "/over"} {
		if a := b.get(path).wantStatus(t, 409); !strings.HasPrefix(a.body, "Conflict: ") {
			t.Errorf("%s: %q", path, a.body)
		}
	}
}

// No sample or example answers a visitor with an error's own text.
func TestExamplesHideErrors(t *testing.T) {
	shows := regexp.MustCompile(`http\.Error\([^,\n]+, \w*[eE]rr\w*\.Error\(\)`)
	seen := 0
	check := func(path string) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		seen++
		if at := shows.Find(text); at != nil {
			t.Errorf("%s: %s …", path, at)
		}
	}
	check("README.md")
	for _, dir := range []string{"docs", "examples"} {
		filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				t.Fatal(err)
			}
			if ext := filepath.Ext(path); ext == ".md" || ext == ".go" {
				check(path)
			}
			return nil
		})
	}
	if seen < 10 {
		t.Errorf("only %d files looked at", seen)
	}
}

var errorList = map[string]struct {
	err    error
	status int
}{

	"ErrEnded": {sojourn.ErrEnded, 409}, "ErrSuperseded": {sojourn.ErrSuperseded, 409}, "ErrCommitted": {sojourn.ErrCommitted, 500},
	"ErrConflict": {sojourn.ErrConflict, 409}, "ErrUncertain": {sojourn.ErrUncertain, 503}, "ErrUnavailable": {sojourn.ErrUnavailable, 503},
	"ErrFull": {sojourn.ErrFull, 503}, "ErrLimit": {sojourn.ErrLimit, 409}, "ErrTooLarge": {sojourn.ErrTooLarge, 413},
	"ErrValue": {sojourn.ErrValue, 422}, "ErrSubject": {sojourn.ErrSubject, 422}, "ErrAnonymous": {sojourn.ErrAnonymous, 401},
	"ErrNotFound": {sojourn.ErrNotFound, 404}, "ErrThrottled": {sojourn.ErrThrottled, 429}, "ErrCrossOrigin": {sojourn.ErrCrossOrigin, 403},
	"ErrBearer": {sojourn.ErrBearer, 500}, "ErrCursor": {sojourn.ErrCursor, 400}, "ErrFinished": {sojourn.ErrFinished, 500}, "ErrClosed": {sojourn.ErrClosed, 503},
	"ErrDevelopment": {sojourn.ErrDevelopment, 500}, "ErrUnsupported": {sojourn.ErrUnsupported, 501}, "ErrLevel": {sojourn.ErrLevel, 403}, "ErrNotFresh": {sojourn.ErrNotFresh, 403},
	"ErrRevision": {sojourn.ErrRevision, 412}, "ErrKeyReused": {sojourn.ErrKeyReused, 422}, "ErrRepeats": {sojourn.ErrRepeats, 429},
	"ErrUnproven": {sojourn.ErrUnproven, 401}, "ErrUnbound": {sojourn.ErrUnbound, 403},
}

// Every error of the package has a status, and the errors are distinct.
func TestStatusCodes(t *testing.T) {
	source, err := os.ReadFile("errors.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^\t(Err\w+) *= errors\.New\("(.*)"\)`).FindAllStringSubmatch(string(source), -1) {
		e, ok := errorList[m[1]]
		if !ok {
			t.Errorf("%s is missing in errorList", m[1])
			continue
		}
		if got := sojourn.StatusCode(fmt.Errorf("outer: %w", e.err)); got != e.status {
			t.Errorf("%s: %d, want %d", m[1], got, e.status)
		}
		if !strings.HasPrefix(m[2], "sojourn: ") {
			t.Errorf("%s begins with the package's name: %q", m[1], m[2])
		}
		for name, other := range errorList {
			if name != m[1] && errors.Is(e.err, other.err) {
				t.Errorf("%s is %s", m[1], name)
			}
		}
	}
	if got := sojourn.StatusCode(io.EOF); got != 500 {
		t.Errorf("an error of others: %d", got)
	}
}

// OnError writes the response. If it writes nothing, the response is still an
// error.
func TestHandlerOnError(t *testing.T) {
	var told error
	silent := false
	w := newWeb(t, func(rw http.ResponseWriter, r *http.Request, s *sojourn.Session) { color.Set(s, "red") },
		options(func(o *sojourn.Options) {
			o.OnError = func(rw http.ResponseWriter, r *http.Request, err error) {
				told = err
				if !silent {
					rw.Header().Set("Content-Type", "application/problem+json")
					rw.WriteHeader(sojourn.StatusCode(err))
					fmt.Fprintf(rw, `{"status":%d}`, sojourn.StatusCode(err))
				}
			}
		}))
	w.calls.fail(always(errors.New("disk on fire"), "Create"), nil)
	a := w.surfer().get("/").wantStatus(t, http.StatusServiceUnavailable)
	if a.body != `{"status":503}` || a.Header.Get("Content-Type") != "application/problem+json" || !errors.Is(told, sojourn.ErrUnavailable) {
		t.Errorf("%v %q, OnError got %v", a.Header, a.body, told)
	}
	a = w.surfer().post("/count", "Sec-Fetch-Site", "cross-site").wantStatus(t, http.StatusForbidden)
	if a.body != `{"status":403}` || !errors.Is(told, sojourn.ErrCrossOrigin) {
		t.Errorf("%q, OnError got %v", a.body, told)
	}
	silent = true
	w.surfer().get("/").withheld(t, http.StatusServiceUnavailable)
	w.surfer().post("/count", "Sec-Fetch-Site", "cross-site").wantStatus(t, http.StatusForbidden)
}
