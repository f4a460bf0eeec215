package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// A hookReceiver receives webhook messages with the Standard Webhooks library.
type hookReceiver struct {
	*httptest.Server
	mu    sync.Mutex
	kinds []string
	bad   []error
	down  bool
}

func receiveHooks(t *testing.T, secret string) *hookReceiver {
	t.Helper()
	verifier, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		t.Fatal(err)
	}
	h := &hookReceiver{}
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var message struct{ Type string }
		if err == nil {
			err = verifier.Verify(body, r.Header)
		}
		if err == nil {
			err = json.Unmarshal(body, &message)
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.down {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		if err != nil {
			h.bad = append(h.bad, err)
		}
		h.kinds = append(h.kinds, message.Type)
	}))
	t.Cleanup(h.Close)
	return h
}

func (h *hookReceiver) got() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]string(nil), h.kinds...)
}

func (h *hookReceiver) setDown(down bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.down = down
}

// The program sends events in all ways: as a stream, which lasts longer than a
// request may take and ends with its key; to webhooks, also at the shutdown;
// and to the audit log.
func TestServeEvents(t *testing.T) {
	const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	hooks := receiveHooks(t, secret)
	dir := t.TempDir()
	secretFile, audit := filepath.Join(dir, "secret"), filepath.Join(dir, "audit.jsonl")
	if err := os.WriteFile(secretFile, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const readTimeout = 300 * time.Millisecond
	s := startServe(t, fmt.Sprintf("events:\n  audit: {file: %s}\n  webhooks: [{url: '%s/hook', secret_file: %s, applications: [shop]}]\nlimits: {read_header_timeout: %v, read_timeout: %[4]v}\n",
		audit, hooks.URL, secretFile, readTimeout))
	key := s.keys["shop"]

	// Two subscribers: the client, and a plain one, whose request would time
	// out.
	t.Setenv("SOJOURN_KEY", key)
	out, seen := newPrintout("ann")
	notes, _ := newPrintout("never printed")
	code := make(chan int, 1)
	go func() {
		code <- run(t.Context(), []string{"events", "--follow", "--last", "10000", "--json", "--server", s.api}, output{out, notes})
	}()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.api+"/v1/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+key)
	res, err := http.DefaultTransport.RoundTrip(r)
	if err != nil || res.StatusCode != 200 || res.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("%v, %v", res, err)
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	select {
	case <-time.After(3 * readTimeout):
	case <-t.Context().Done():
	}
	s.ask("shop", "POST", "/v1/sessions", `{"subject":"ann"}`, 201)
	s.ask("blog", "POST", "/v1/sessions", `{"subject":"ben"}`, 201)
	told := false
	for !told && lines.Scan() {
		told = strings.HasPrefix(lines.Text(), "data: ") && strings.Contains(lines.Text(), `"subject":"ann"`)
	}
	if !told {
		t.Fatalf("the stream ended before anything happened: %v", lines.Err())
	}
	select {
	case <-seen:
	case <-time.After(time.Minute):
		t.Fatalf("the client printed %s%s", out, notes)
	}
	s.eventually("webhook messages", func() bool { return len(hooks.got()) >= 2 })

	// The key is revoked. Both streams end, and the client says why.
	text := s.text()
	next, hash := newKey(t)
	_, old, _ := strings.Cut(text, "keys: [{name: test, hash: '")
	old, _, _ = strings.Cut(old, "'")
	s.write(t, strings.Replace(text, old, hash, 1))
	s.reload("the configuration was reloaded")
	for lines.Scan() {
		if strings.Contains(lines.Text(), "ben") {
			t.Error("another application's event")
		}
	}
	if err := lines.Err(); err != nil {
		t.Errorf("the stream broke off: %v", err)
	}
	select {
	case c := <-code:
		if c != 1 || !strings.Contains(notes.String(), "doesn't accept this API key") {
			t.Errorf("exit code %d: %s", c, notes)
		}
	case <-time.After(time.Minute):
		t.Fatalf("the client goes on with a dead key: %s", notes)
	}

	// A message that waits when the server stops is sent before it ends.
	s.keys["shop"] = next
	s.ask("shop", "DELETE", "/v1/sessions?subject=ann", "", 200)
	s.stop()
	kinds := hooks.got()
	if got := strings.Join(kinds, " "); !strings.Contains(got, "session.created") || !strings.Contains(got, "session.authenticated") || !strings.Contains(got, "session.ended") || len(kinds) != 3 {
		t.Errorf("webhook messages: %v", kinds)
	}
	for _, err := range hooks.bad {
		t.Errorf("a message with a bad signature: %v", err)
	}
	trail, err := os.ReadFile(audit)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"subject":"ann"`, `"subject":"ben"`, `"kind":"ended"`, `"kind":"operation"`} {
		if !strings.Contains(string(trail), want) {
			t.Errorf("the audit log lacks %s:\n%s", want, trail)
		}
	}
}

// A webhook that is down fails no request, and delays neither answers nor the
// shutdown. Its lost messages are counted and logged.
func TestServeWebhookDown(t *testing.T) {
	const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	hooks := receiveHooks(t, secret)
	hooks.setDown(true)
	secretFile := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secretFile, []byte(secret), 0o600); err != nil {
		t.Fatal(err)
	}
	s := startServe(t, fmt.Sprintf("events:\n  webhooks: [{url: '%s/hook', secret_file: %s}]\n", hooks.URL, secretFile))
	for i := range 20 {
		s.ask("shop", "POST", "/v1/sessions", fmt.Sprintf(`{"subject":"user-%d"}`, i), 201)
	}
	s.eventually("failures are counted: of the first message, and of trials, one at a time", func() bool {
		_, _, metrics := s.look("/metrics", "")
		tries := regexp.MustCompile(`sojourn_webhook_attempts_total\{app="shop",outcome="failed"\} (\d+)`).FindStringSubmatch(metrics)
		if tries == nil {
			return false
		}
		n, _ := strconv.Atoi(tries[1])
		return n >= 3 && strings.Contains(metrics, `sojourn_webhook_pending{app="shop"} 40`)
	})
	s.stop() // that is no failure of the server's
	log := s.stderr.String()
	if strings.Count(log, "webhook message dropped") != 40 || !strings.Contains(log, "reason=shutdown") || !strings.Contains(log, "webhook fails") {
		t.Errorf("the log:\n%s", log)
	}
	if strings.Contains(log, secret[6:]) {
		t.Error("the log shows the secret")
	}
}
