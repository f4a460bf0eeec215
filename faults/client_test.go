package faults

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A history collects the clients' requests and their answers.
type history struct {
	began time.Time

	mu     sync.Mutex
	ops    []*op
	broken []string // answers that no client should get
}

func (h *history) now() time.Duration { return time.Since(h.began) }

func (h *history) add(o *op) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, o)
}

func (h *history) all() []*op {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]*op(nil), h.ops...)
}

func (h *history) complain(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.broken = append(h.broken, fmt.Sprintf(format, args...))
}

// A client sends requests to one node.
type client struct {
	h    *history
	node int
	base string
	http *http.Client
}

// clientTimeout is above what a node waits for its store.
const clientTimeout = 5 * time.Second

func newClient(h *history, node int, base string) *client {
	return &client{h, node, base, &http.Client{Timeout: clientTimeout, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}}
}

// A reply is the answer to a request.
type reply struct {
	answer
	out   outcome
	token string // that the response has set
	text  string // of an error
}

// do sends one request. Without an answer that can be understood, the outcome
// is unknown.
func (c *client) do(ctx context.Context, method, path string, form url.Values, token string) reply {
	r, err := http.NewRequestWithContext(ctx, method, c.base+path+"?"+form.Encode(), nil)
	if err != nil {
		panic(err) // the test has encoded it
	}
	if token != "" {
		r.Header.Set("Cookie", "__Host-session="+token)
	}
	resp, err := c.http.Do(r)
	if err != nil {
		return reply{out: unknown, text: err.Error()}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return reply{out: unknown, text: err.Error()}
	}
	if resp.StatusCode != http.StatusOK {
		out := map[string]outcome{"unknown": unknown, "failed": failed, "refused": refused}[resp.Header.Get(errorHeader)]
		if out == 0 {
			c.h.complain("%s %s: %s: %s", method, path, resp.Status, body)
			out = unknown
		}
		return reply{out: out, text: strings.TrimSpace(string(body))}
	}
	re := reply{out: done}
	if err := json.Unmarshal(body, &re.answer); err != nil {
		c.h.complain("%s %s: %s: %v", method, path, body, err)
	}
	for _, cookie := range resp.Cookies() {
		if cookie.Name == "__Host-session" && cookie.MaxAge >= 0 {
			re.token = cookie.Value
		}
	}
	return re
}

// A browser holds one session's token. It may use all nodes at the same time.
type browser struct {
	session, subject string

	mu    sync.Mutex
	token string
	level int
	added int
	lost  bool // the token may have been renewed by an answer that got lost
}

func (b *browser) mayRaise() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.level < 3 && !b.lost
}

var clients atomic.Int64

// login creates a session. It returns nil if that failed or the outcome is
// unknown.
func (c *client) login(ctx context.Context, subject string) *browser {
	o := &op{node: c.node, kind: login, level: 1, sent: c.h.now()}
	re := c.do(ctx, "POST", "/shop/login", url.Values{"subject": {subject}}, "")
	if o.got, o.out = c.h.now(), re.out; o.out != done {
		c.h.add(&op{node: c.node, kind: login, out: o.out, sent: o.sent, got: o.got})
		return nil
	}
	o.session = re.Session
	c.h.add(o)
	return &browser{session: re.Session, subject: subject, token: re.token, level: 1}
}

// send makes one request of a browser and records it.
func (c *client) send(ctx context.Context, b *browser, k kind) *op {
	b.mu.Lock()
	o := &op{client: int(clients.Add(1)), node: c.node, kind: k, session: b.session, level: b.level}
	token := b.token
	form := url.Values{}
	if k == add {
		b.added++
		o.n = b.added
		form.Set("n", fmt.Sprint(o.n))
	}
	b.mu.Unlock()
	method, path := "POST", "/shop/"+k.String()
	switch k {
	case check:
		method = "GET"
	case strict:
		method, path = "GET", "/shop/check"
		form.Set("strict", "1")
	case raise:
		form.Set("level", fmt.Sprint(o.level+1))
	case end:
		form.Set("id", b.session)
	}
	o.sent = c.h.now()
	re := c.do(ctx, method, path, form, token)
	o.got, o.out = c.h.now(), re.out
	if k == raise && o.out == done && re.token == "" {
		c.h.complain("%v was answered without a token", o)
	}
	if k == check || k == strict {
		if o.seen, o.seenLevel = re.List, re.Level; o.out == done && re.Session == "" {
			o.out = refused
		} else if o.out == done && re.Session != b.session {
			c.h.complain("a check of session %s was answered with %s", b.session, re.Session)
		}
	}
	c.h.add(o)
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case k == rotate && re.token != "" && b.level == o.level: // another rotation is under way
		b.token = re.token
	case k == raise && o.out == done:
		b.token, b.level = re.token, o.level+1
	case k == raise && o.out == unknown:
		b.lost = true
	}
	return o
}

// endSubject ends a browser's session, the only one of its subject.
func (c *client) endSubject(ctx context.Context, b *browser) *op {
	o := &op{client: int(clients.Add(1)), node: c.node, kind: end, session: b.session, sent: c.h.now()}
	re := c.do(ctx, "POST", "/shop/endsubject", url.Values{"subject": {b.subject}}, "")
	o.got, o.out = c.h.now(), re.out
	c.h.add(o)
	return o
}

// live returns nil if the node answers from memory.
func (c *client) live() error {
	resp, err := c.http.Get(c.base + "/live")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && string(b) != "true" {
		err = errors.New("it doesn't answer from memory")
	}
	return err
}
