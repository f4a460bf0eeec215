package events

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/store/memstore"
)

type locked struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *locked) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *locked) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// A real engine creates and ends a session. No token, part of a token or hash
// of one is in a stream, a webhook message, the audit log, or the log at debug
// level.
func TestCanaryEventsHoldNoToken(t *testing.T) {
	var logs, audit locked
	rc := &receiver{}
	h := newHub(t, Options{Audit: &audit, Transport: rc, Log: slog.New(slog.NewTextHandler(&logs, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	all := hook("all")
	all.Events = Kinds()
	if err := h.Configure([]App{{Name: "shop", Webhooks: []Webhook{all}}}); err != nil {
		t.Fatal(err)
	}
	server := serveHub(t, h)
	st := memstore.New()
	defer st.Close() //nolint:errcheck // memory
	var mu sync.Mutex
	now := time.Now()
	engine, err := sojourn.New(st, sojourn.Options{App: "shop", OnEvent: h.Observer("shop"), Now: func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		return now
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer engine.Close(context.Background()) //nolint:errcheck // nothing waits
	var tokens []string
	request := func(after time.Duration, token string, do func(*sojourn.Session) error) string {
		mu.Lock()
		now = now.Add(after)
		mu.Unlock()
		s := engine.Begin(t.Context(), sojourn.Request{Session: []string{token}, Client: sojourn.Client{UserAgent: "Browser/1"}})
		defer s.Finish()
		if err := do(s); err != nil {
			t.Log(err)
		}
		if err := errors.Join(s.Commit(t.Context()), engine.Flush(t.Context())); err != nil {
			t.Log(err)
		}
		if token := s.Token(); token != "" {
			tokens = append(tokens, token)
			return token
		}
		return token
	}
	read := func(s *sojourn.Session) error { return s.Load(t.Context()) }
	const soon, later = 2 * time.Minute, 16 * time.Minute // later is when a secret rotates
	token := request(0, "", func(s *sojourn.Session) error { return s.Login("alice", sojourn.Level(1)) })
	login := token
	token = request(later, token, read)
	token = request(soon, token, func(s *sojourn.Session) error { return s.Elevate(2) })
	request(soon, login, read) // of an earlier epoch
	request(soon, token+"x", read)
	stolen := token
	for range 3 {
		token = request(later, token, read)
		request(soon, token, read)
		request(soon, token, read) // the rotation is confirmed
	}
	request(later, stolen, read) // theft
	request(soon, token, read)
	s := subscribe(t, server, "/shop?last=10000&follow=false", "")
	var streamed strings.Builder
	kinds := map[string]bool{}
	for {
		e, ok := s.next()
		if !ok {
			break
		}
		kinds[e.Kind] = true
		fmt.Fprintf(&streamed, "%s\n", encode(&e.Event))
	}
	for _, kind := range []string{"created", "authenticated", "elevated", "rotated", "ended", "refused"} {
		if !kinds[kind] {
			t.Errorf("the scenario has no %s: %v", kind, kinds)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if n := h.Close(ctx); n != 0 {
		t.Errorf("%d messages were not delivered", n)
	}
	var sent strings.Builder
	for _, p := range rc.got() {
		fmt.Fprintf(&sent, "%v %s\n", p.header, p.body)
	}
	if len(tokens) < 6 || sent.Len() == 0 || audit.String() == "" {
		t.Fatalf("%d tokens, sent %d bytes", len(tokens), sent.Len())
	}
	for _, token := range tokens {
		raw, err := base64.RawURLEncoding.DecodeString(token)
		if err != nil {
			t.Fatal(err)
		}
		hash, half := sha256.Sum256(raw[16:]), sha256.Sum256(raw[16:32])
		for where, text := range map[string]string{"a stream": streamed.String(), "a webhook": sent.String(), "the audit log": audit.String(), "a log": logs.String()} {
			for _, needle := range []string{
				token, token[24:], token[44:], hex.EncodeToString(raw[16:]), hex.EncodeToString(hash[:]), hex.EncodeToString(half[:]),
				base64.StdEncoding.EncodeToString(hash[:]), base64.RawURLEncoding.EncodeToString(hash[:]), base64.RawStdEncoding.EncodeToString(raw[16:]),
			} {
				if strings.Contains(text, needle) {
					t.Errorf("%q is in %s", needle, where)
				}
			}
		}
	}
}
