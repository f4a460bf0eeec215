package events

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/sojournd/internal/api/v1"
)

func secret(size int) string {
	b := make([]byte, size)
	_, _ = rand.Read(b)
	return "whsec_" + base64.StdEncoding.EncodeToString(b)
}

// A post is one request that a webhook received.
type post struct {
	at     time.Time
	url    string
	header http.Header
	body   []byte
	over   <-chan struct{} // the request was cut off
}

func (p post) id() string { return p.header.Get("webhook-id") }

// A receiver replaces all webhooks, without a network. A function chooses its
// answers.
type receiver struct {
	answer func(n int, p post) (status int, header http.Header, err error) // of the nth request, from 1
	mu     sync.Mutex
	posts  []post
	now    int // requests in flight
	most   int
	hold   chan struct{} // unless nil: requests wait until it is closed
}

func (rc *receiver) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	p := post{time.Now(), r.URL.String(), r.Header, body, r.Context().Done()}
	rc.mu.Lock()
	rc.posts = append(rc.posts, p)
	n := len(rc.posts)
	rc.now++
	rc.most = max(rc.most, rc.now)
	hold := rc.hold
	rc.mu.Unlock()
	defer func() { rc.mu.Lock(); rc.now--; rc.mu.Unlock() }()
	if hold != nil {
		select {
		case <-hold:
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
	}
	status, header := 204, http.Header(nil)
	if rc.answer != nil {
		status, header, err = rc.answer(n, p)
	}
	if err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: status, Status: strconv.Itoa(status), Header: header, Body: http.NoBody, Request: r}, nil
}

func (rc *receiver) got() []post {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	return append([]post(nil), rc.posts...)
}

// metric returns the value of a metric with these label values, in the order of
// the label names.
func metric(t *testing.T, h *Hub, name string, labels ...string) float64 {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(h); err != nil {
		t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var values []string
			for _, l := range m.GetLabel() {
				values = append(values, l.GetValue())
			}
			if f.GetName() == name && strings.Join(values, "|") == strings.Join(labels, "|") {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	t.Fatalf("no metric %s %q", name, labels)
	return 0
}

func wantMetric(t *testing.T, h *Hub, want float64, name string, labels ...string) {
	t.Helper()
	if got := metric(t, h, name, labels...); got != want {
		t.Errorf("%s %q is %v, want %v", name, labels, got, want)
	}
}

// The specification's own library verifies the signature with either of two
// secrets, over a real connection.
func TestWebhookIsSigned(t *testing.T) {
	posts := make(chan post, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		posts <- post{header: r.Header, body: body}
	}))
	t.Cleanup(server.Close)
	secrets := []string{secret(24), secret(64)}
	h := newHub(t, Options{}, App{Name: "shop", Webhooks: []Webhook{{URL: server.URL + "/hook", Secrets: secrets}}})
	e := created("shop", 1)
	e.Kind, e.Reason, e.Session = sojourn.EventEnded, sojourn.ReasonTheft, sojourn.ID{1}
	h.Observer("shop")(e)
	p := <-posts
	for _, s := range append(secrets, secret(32)) {
		verifier, err := standardwebhooks.NewWebhook(s)
		if err != nil {
			t.Fatal(err)
		}
		err = verifier.Verify(p.body, p.header)
		if known := s == secrets[0] || s == secrets[1]; known && err != nil || !known && !errors.Is(err, standardwebhooks.ErrNoMatchingSignature) {
			t.Errorf("by secret %.12s…: %v", s, err)
		}
		if err := verifier.Verify(append(p.body, ' '), p.header); err == nil {
			t.Error("another body passes")
		}
	}
	var body struct {
		Type      string
		Timestamp time.Time
		Data      v1.Event
	}
	if err := json.Unmarshal(p.body, &body); err != nil {
		t.Fatal(err)
	}
	if body.Type != "session.ended" || !body.Timestamp.Equal(e.Time) || body.Data.ID != p.id() || body.Data.Reason != "theft" || body.Data.Session != e.Session.String() {
		t.Errorf("%s", p.body)
	}
	if got := p.header.Get("Content-Type"); got != "application/json" {
		t.Errorf("Content-Type %q", got)
	}
}

// This is the example of the specification.
func TestSignExample(t *testing.T) {
	key, err := decodeSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		t.Fatal(err)
	}
	got := sign([][]byte{key}, "msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`))
	if want := "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// hook returns a webhook without a network.
func hook(name string) Webhook {
	return Webhook{URL: "https://" + name + ".example/hook", Secrets: []string{"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}}
}

// TestWebhookTrialFirst: a webhook that is down gets one message at a time,
// less and less often. When it works again it gets all messages.
func TestWebhookTrialFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const events = 200
		var down atomic.Bool
		down.Store(true)
		rc := &receiver{answer: func(int, post) (int, http.Header, error) {
			if down.Load() {
				return 0, nil, errors.New("connection refused")
			}
			return http.StatusOK, nil, nil
		}}
		h := newHub(t, Options{Transport: rc}, App{Name: "shop", Webhooks: []Webhook{hook("a")}})
		observe(h, "shop", 0, events)
		time.Sleep(10 * time.Minute)
		if n := len(rc.got()); n < 10 || n > 40 {
			t.Errorf("%d attempts in ten minutes, want one at least every minute, and no more than that later on", n)
		}
		tried := len(rc.got())
		down.Store(false)
		time.Sleep(2 * time.Hour)
		if n := len(rc.got()) - tried; n != events {
			t.Errorf("%d messages came, want %d", n, events)
		}
	})
}

func TestWebhookKinds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rc := &receiver{}
		some := hook("some")
		some.Events = []string{"refused", "gap"}
		h := newHub(t, Options{Transport: rc}, App{Name: "shop", Webhooks: []Webhook{hook("default"), some}})
		for _, kind := range Kinds() {
			e := created("shop", 0)
			e.Kind = sojourn.EventKind(kind)
			h.Observer("shop")(e)
		}
		synctest.Wait()
		var got []string
		for _, p := range rc.got() {
			var body struct{ Type string }
			if err := json.Unmarshal(p.body, &body); err != nil {
				t.Fatal(err)
			}
			got = append(got, strings.TrimPrefix(p.url, "https://")[:4]+" "+body.Type)
		}
		slicesEqual(t, got, []string{
			"defa session.adopted", "defa session.authenticated", "defa session.client_changed", "defa session.created", "defa session.elevated", "defa session.ended",
			"defa session.ended_all", "defa session.gap", "some session.gap", "some session.refused",
		})
	})
}

func slicesEqual(t *testing.T, got, want []string) {
	t.Helper()
	slices.Sort(got)
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

// A message that fails is sent again, with a new time and signature, after
// growing delays, for a day. Then it is a dead letter.
func TestWebhookRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		failures := []func() (int, http.Header, error){
			func() (int, http.Header, error) { return 0, nil, errors.New("connection refused") },
			func() (int, http.Header, error) { return 500, nil, nil },
			func() (int, http.Header, error) { return 404, nil, nil },
			func() (int, http.Header, error) {
				return 302, http.Header{"Location": {"https://elsewhere.example/"}}, nil
			},
		}
		works := false
		rc := &receiver{}
		rc.answer = func(n int, _ post) (int, http.Header, error) {
			if works {
				return 200, nil, nil
			}
			return failures[n%len(failures)]()
		}
		h := newHub(t, Options{Transport: rc}, App{Name: "shop", Webhooks: []Webhook{hook("a")}})
		began := time.Now()
		observe(h, "shop", 0, 1)
		time.Sleep(10 * time.Minute)
		posts := rc.got()
		if len(posts) < 4 {
			t.Fatalf("%d attempts in ten minutes", len(posts))
		}
		verifier, err := standardwebhooks.NewWebhook(hook("a").Secrets[0])
		if err != nil {
			t.Fatal(err)
		}
		var signatures = map[string]bool{}
		wait := retryFirst
		for i, p := range posts {
			if p.id() != posts[0].id() || !bytes.Equal(p.body, posts[0].body) || p.header.Get("webhook-timestamp") != fmt.Sprint(p.at.Unix()) {
				t.Errorf("attempt %d is another message: %v", i+1, p.header)
			}
			if err := verifier.VerifyIgnoringTimestamp(p.body, p.header); err != nil {
				t.Error(err)
			}
			signatures[p.header.Get("webhook-signature")] = true
			if i == 0 {
				continue
			}
			if got := p.at.Sub(posts[i-1].at); got < wait/2 || got > wait {
				t.Errorf("attempt %d came %v after the last, want %v to %v", i+1, got, wait/2, wait)
			}
			wait = min(wait*retryFactor, retryMost)
		}
		if len(signatures) != len(posts) {
			t.Error("an attempt repeats the signature of an earlier one")
		}
		wantMetric(t, h, 1, "sojourn_webhook_pending", "shop")
		wantMetric(t, h, 0, "sojourn_webhook_dead_letters_total", "shop", deadExpired)

		time.Sleep(25 * time.Hour)
		posts = rc.got()
		if last := posts[len(posts)-1].at.Sub(began); last > giveUpAfter || last < giveUpAfter-2*retryMost {
			t.Errorf("the last attempt came after %v", last)
		}
		wantMetric(t, h, 0, "sojourn_webhook_pending", "shop")
		wantMetric(t, h, 1, "sojourn_webhook_dead_letters_total", "shop", deadExpired)
		wantMetric(t, h, float64(len(posts)), "sojourn_webhook_attempts_total", "shop", "failed")

		works = true
		observe(h, "shop", 1, 2)
		synctest.Wait()
		wantMetric(t, h, 1, "sojourn_webhook_attempts_total", "shop", "delivered")
		for _, p := range rc.got() {
			if strings.Contains(p.url, "elsewhere") {
				t.Error("a redirect was followed: users' data went where the configuration doesn't say")
			}
		}
	})
}

// Messages that failed together are not sent again together.
func TestBackoffJitters(t *testing.T) {
	for tries, most := range map[int]time.Duration{1: 5 * time.Second, 2: 20 * time.Second, 3: 80 * time.Second, 6: time.Hour, 100: time.Hour} {
		seen := map[time.Duration]bool{}
		for range 1000 {
			d := backoff(tries)
			if d < most/2 || d > most {
				t.Fatalf("try %d: %v", tries, d)
			}
			seen[d] = true
		}
		if len(seen) < 900 {
			t.Errorf("try %d: %d different waits of 1000", tries, len(seen))
		}
	}
}

func TestWebhookRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rc := &receiver{}
		rc.answer = func(n int, _ post) (int, http.Header, error) {
			switch n {
			case 1:
				return 429, http.Header{"Retry-After": {"120"}}, nil
			case 2:
				return 503, http.Header{"Retry-After": {time.Now().Add(5 * time.Minute).UTC().Format(http.TimeFormat)}}, nil
			case 3:
				return 503, http.Header{"Retry-After": {"99999999"}}, nil // no more than an hour
			case 4:
				return 503, http.Header{"Retry-After": {"-1"}}, nil
			default:
				return 200, nil, nil
			}
		}
		h := newHub(t, Options{Transport: rc}, App{Name: "shop", Webhooks: []Webhook{hook("a")}})
		observe(h, "shop", 0, 1)
		time.Sleep(10 * time.Hour)
		posts := rc.got()
		if len(posts) != 5 {
			t.Fatalf("%d attempts", len(posts))
		}
		for i, want := range []time.Duration{2 * time.Minute, 5*time.Minute - time.Second, time.Hour} {
			if got := posts[i+1].at.Sub(posts[i].at); got < want || got > want+time.Second {
				t.Errorf("after answer %d: %v, want %v", i+1, got, want)
			}
		}
	})
}

// 410 Gone means that the webhook wants no more messages.
func TestWebhookGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rc := &receiver{hold: make(chan struct{})}
		rc.answer = func(n int, p post) (int, http.Header, error) { return 410, nil, nil }
		apps := []App{{Name: "shop", Webhooks: []Webhook{hook("a")}}}
		h := newHub(t, Options{Transport: rc}, apps...)
		observe(h, "shop", 0, 20)
		synctest.Wait()
		close(rc.hold)
		observe(h, "shop", 20, 21)
		time.Sleep(time.Hour)
		observe(h, "shop", 21, 22)
		time.Sleep(time.Hour)
		if n := len(rc.got()); n != parallel {
			t.Errorf("%d requests, want the %d that were under way", n, parallel)
		}
		wantMetric(t, h, 22, "sojourn_webhook_dead_letters_total", "shop", deadGone)
		if err := h.Configure(apps); err != nil { // a reload
			t.Fatal(err)
		}
		observe(h, "shop", 22, 23)
		synctest.Wait()
		if n := len(rc.got()); n != parallel+1 {
			t.Errorf("after a reload %d requests", n-parallel)
		}
	})
}

// After 410 Gone, requests that were under way and fail are not sent again.
func TestWebhookGoneUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rc := &receiver{}
		rc.answer = func(_ int, p post) (int, http.Header, error) {
			if strings.HasSuffix(p.id(), "-1") {
				return 410, nil, nil
			}
			time.Sleep(time.Second)
			return 503, nil, nil
		}
		h := newHub(t, Options{Transport: rc}, App{Name: "shop", Webhooks: []Webhook{hook("a")}})
		observe(h, "shop", 0, parallel)
		time.Sleep(time.Hour)
		if n := len(rc.got()); n != parallel {
			t.Errorf("%d requests, want the %d that were under way", n, parallel)
		}
		wantMetric(t, h, parallel, "sojourn_webhook_dead_letters_total", "shop", deadGone)
	})
}

// A webhook that does not answer delays neither the observer nor other
// webhooks, and its queue is limited.
func TestWebhookHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logs bytes.Buffer
		rc := &receiver{}
		rc.answer = func(_ int, p post) (int, http.Header, error) {
			if strings.Contains(p.url, "hangs") {
				<-p.over
			}
			return 204, nil, nil
		}
		h := newHub(t, Options{Transport: rc, Log: slog.New(slog.NewTextHandler(&logs, nil))},
			App{Name: "shop", Webhooks: []Webhook{hook("hangs"), hook("works")}})
		began := time.Now()
		const n = maxPending + 500
		for i := 0; i < n; i += 500 {
			observe(h, "shop", i, i+500)
			synctest.Wait() // the other one is done; no time has passed
		}
		if time.Since(began) > 0 {
			t.Errorf("the observer waited for %v", time.Since(began))
		}
		wantMetric(t, h, n, "sojourn_webhook_attempts_total", "shop", "delivered")
		wantMetric(t, h, maxPending, "sojourn_webhook_pending", "shop")
		wantMetric(t, h, 500, "sojourn_webhook_dead_letters_total", "shop", deadFull)
		if n := strings.Count(logs.String(), "too many wait"); n != 1 {
			t.Errorf("the log says it %d times", n)
		}
		hanging := 0
		for _, p := range rc.got() {
			if strings.Contains(p.url, "hangs") {
				hanging++
			}
		}
		if hanging != parallel {
			t.Errorf("%d requests at a time", hanging)
		}
	})
}

// Messages that were never tried are sent before the end. The others become
// dead letters within the caller's time limit.
func TestWebhookClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rc := &receiver{hold: make(chan struct{})}
		h := newHub(t, Options{Transport: rc}, App{Name: "shop", Webhooks: []Webhook{hook("a")}})
		observe(h, "shop", 0, 50)
		synctest.Wait()
		go func() { time.Sleep(time.Second); close(rc.hold) }()
		if n := h.Close(t.Context()); n != 0 {
			t.Errorf("%d are left", n)
		}
		if n := len(rc.got()); n != 50 {
			t.Errorf("%d of 50 were sent", n)
		}

		rc = &receiver{hold: make(chan struct{})} // never answers
		h = newHub(t, Options{Transport: rc}, App{Name: "shop", Webhooks: []Webhook{hook("a")}})
		observe(h, "shop", 0, 50)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		began := time.Now()
		if n := h.Close(ctx); n != 50 {
			t.Errorf("nothing was delivered, and Close says %d", n)
		}
		if took := time.Since(began); took != 3*time.Second {
			t.Errorf("Close took %v", took)
		}

		rc = &receiver{answer: func(int, post) (int, http.Header, error) { return 500, nil, nil }}
		h = newHub(t, Options{Transport: rc}, App{Name: "shop", Webhooks: []Webhook{hook("a")}})
		observe(h, "shop", 0, 5)
		synctest.Wait()
		began = time.Now()
		if n := h.Close(t.Context()); n != 5 {
			t.Errorf("all failed, and Close says %d", n)
		}
		if took := time.Since(began); took > 0 {
			t.Errorf("Close waited %v for a retry", took)
		}
	})
}

// A reload keeps the messages for a webhook with the same URL, and uses its new
// secret. Messages for a removed webhook are dropped.
func TestWebhookReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := true
		rc := &receiver{}
		rc.answer = func(int, post) (int, http.Header, error) {
			if down {
				return 503, nil, nil
			}
			return 204, nil, nil
		}
		h := newHub(t, Options{Transport: rc}, App{Name: "shop", Webhooks: []Webhook{hook("a"), hook("b")}}, App{Name: "blog", Webhooks: []Webhook{hook("a")}})
		observe(h, "shop", 0, 3)
		observe(h, "blog", 0, 3)
		synctest.Wait()
		replaced := hook("a")
		replaced.Secrets = []string{secret(32)}
		if err := h.Configure([]App{{Name: "shop", Webhooks: []Webhook{replaced}}}); err != nil {
			t.Fatal(err)
		}
		wantMetric(t, h, 3, "sojourn_webhook_pending", "shop")
		wantMetric(t, h, 3, "sojourn_webhook_dead_letters_total", "shop", deadRemoved)
		down = false
		before := len(rc.got())
		time.Sleep(time.Minute)
		verifier, err := standardwebhooks.NewWebhook(replaced.Secrets[0])
		if err != nil {
			t.Fatal(err)
		}
		posts := rc.got()[before:]
		if len(posts) != 3 {
			t.Errorf("%d messages, want the 3 that waited", len(posts))
		}
		for _, p := range posts {
			if err := verifier.VerifyIgnoringTimestamp(p.body, p.header); err != nil || p.url != replaced.URL {
				t.Errorf("%s: %v", p.url, err)
			}
		}
		// A mistake changes nothing.
		if err := h.Configure([]App{{Name: "shop"}, {Name: "shop"}}); err == nil {
			t.Error("an application twice")
		}
		if err := h.Configure([]App{{Name: "new", Webhooks: []Webhook{{URL: "x"}}}}); err == nil {
			t.Error("a bad webhook")
		}
		observe(h, "shop", 3, 4)
		synctest.Wait()
		if n := len(rc.got()); n != before+4 {
			t.Errorf("%d messages", n-before)
		}
	})
}

func TestWebhookCheck(t *testing.T) {
	good := hook("a")
	if err := good.Check(); err != nil {
		t.Errorf("a good one: %v", err)
	}
	for _, u := range []string{"http://localhost:3000/x", "http://127.0.0.1/x", "http://[::1]:1/x", "https://user:pass@host/x?y=z"} {
		w := good
		if w.URL = u; w.Check() != nil {
			t.Errorf("%s: %v", u, w.Check())
		}
	}
	w := good
	w.URL, w.PlainHTTP = "http://hooks.internal/x", true
	if err := w.Check(); err != nil {
		t.Errorf("plain HTTP where that was allowed: %v", err)
	}
	for _, c := range []struct {
		change func(*Webhook)
		want   string
	}{
		{func(w *Webhook) { w.URL = "" }, "https://host/path"},
		{func(w *Webhook) { w.URL = "hooks.example/x" }, "https://host/path"},
		{func(w *Webhook) { w.URL = "ftp://host/" }, "https://host/path"},
		{func(w *Webhook) { w.URL = "https://" }, "https://host/path"},
		{func(w *Webhook) { w.URL = "https://:443/x" }, "https://host/path"},
		{func(w *Webhook) { w.URL = "https://h/x#y" }, "https://host/path"},
		{func(w *Webhook) { w.URL = "https://user:pass@ho st/" }, "https://host/path"},
		{func(w *Webhook) { w.URL = "http://hooks.example/x" }, "in the clear"},
		{func(w *Webhook) { w.URL = "http://127.0.0.1.example/x" }, "in the clear"},
		{func(w *Webhook) { w.Secrets = nil }, "needs a secret"},
		{func(w *Webhook) { w.Secrets = []string{"hunter2"} }, "begins with"},
		{func(w *Webhook) { w.Secrets = []string{"whsec_hunter2!"} }, "not base64"},
		{func(w *Webhook) { w.Secrets = []string{"whsec_aHVudGVyMg=="} }, "this one has 7"},
		{func(w *Webhook) { w.Secrets = []string{secret(65)} }, "this one has 65"},
		{func(w *Webhook) { w.Events = []string{"logout"} }, "created, authenticated"},
	} {
		w := good
		c.change(&w)
		err := w.Check()
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want an error that says %q", err, c.want)
		} else if strings.Contains(err.Error(), "pass") || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("a secret is shown: %v", err)
		}
	}
	err := New(Options{}).Configure([]App{{Name: "a", Webhooks: []Webhook{{URL: "x"}}}, {Name: "b", Webhooks: []Webhook{good, good}}})
	for _, want := range []string{`"a": `, "https://host/path", "needs a secret", `"b": `, "twice"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v lacks %q", err, want)
		}
	}
}
