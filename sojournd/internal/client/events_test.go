package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sojourn-go/sojourn/sojournd/internal/api/v1"
)

// A play answers each request for events in turn.
type play struct {
	t     *testing.T
	acts  []func(w http.ResponseWriter, r *http.Request)
	asked []*http.Request
	over  func() // after the last
}

// RoundTrip replaces the network, so the test controls time.
func (p *play) RoundTrip(r *http.Request) (*http.Response, error) {
	p.asked = append(p.asked, r)
	n := len(p.asked)
	if n > len(p.acts) {
		p.over()
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	w := &answer{header: http.Header{}, status: 200}
	p.acts[n-1](w, r)
	if w.err != nil {
		return nil, w.err
	}
	return &http.Response{StatusCode: w.status, Status: fmt.Sprint(w.status), Header: w.header, Body: &body{w.Reader(), w.pings, w.hang, r.Context()}, Request: r}, nil
}

type answer struct {
	bytes.Buffer
	header http.Header
	status int
	pings  int  // every 15 s, before the body
	hang   bool // the body never ends
	err    error
}

func (a *answer) Header() http.Header    { return a.header }
func (a *answer) WriteHeader(status int) { a.status = status }
func (a *answer) Reader() *bytes.Reader  { return bytes.NewReader(a.Bytes()) }

type body struct {
	*bytes.Reader
	pings int
	hang  bool
	ctx   context.Context
}

func (b *body) Read(p []byte) (int, error) {
	if b.pings > 0 {
		b.pings--
		select {
		case <-time.After(15 * time.Second):
			return copy(p, ": ping\n\n"), nil
		case <-b.ctx.Done():
			return 0, b.ctx.Err()
		}
	}
	if b.Len() == 0 && b.hang {
		<-b.ctx.Done()
		return 0, b.ctx.Err()
	}
	return b.Reader.Read(p)
}

func (b *body) Close() error { return nil }

func send(frames ...string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, ": hello\n\n"+strings.Join(frames, ""))
	}
}

func sendAndHang(frames ...string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, r *http.Request) {
		send(frames...)(w, r)
		w.(*answer).hang = true
	}
}

func refuse(status int) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"code":"some_code","detail":"No."}`)
	}
}

func breakOff(w http.ResponseWriter, _ *http.Request) {
	w.(*answer).err = fmt.Errorf("connection reset")
}

func frameOf(n int) string {
	return fmt.Sprintf("id: run-%d\nevent: created\ndata: {\"id\":\"run-%[1]d\",\"kind\":\"created\",\"subject\":\"%[1]d\"}\n\n", n)
}

// follow runs PrintEvents against a play until the play is over.
func follow(t *testing.T, e Events, acts ...func(http.ResponseWriter, *http.Request)) (p *play, out, notes *bytes.Buffer, err error) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	p = &play{t: t, acts: acts, over: cancel}
	out, notes = new(bytes.Buffer), new(bytes.Buffer)
	c, err := New(Options{Server: "https://sessions.example", Key: testKey, JSON: true, Out: out, Err: notes})
	if err != nil {
		t.Fatal(err)
	}
	c.http.Transport = p
	err = c.PrintEvents(ctx, e)
	return p, out, notes, err
}

func subjects(t *testing.T, out *bytes.Buffer) (list []string) {
	t.Helper()
	for line := range strings.Lines(out.String()) {
		var e v1.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Errorf("%q: %v", line, err)
		}
		list = append(list, e.Subject)
	}
	return list
}

func TestEventsOnce(t *testing.T) {
	p, out, _, err := follow(t, Events{Last: 10_000}, send(frameOf(1), frameOf(2), "id: run-3\ndata: cut off"))
	check(t, err, "")
	if got := fmt.Sprint(subjects(t, out)); got != "[1 2]" {
		t.Error(got)
	}
	if q := p.asked[0].URL.RawQuery; q != "follow=false&last=10000" {
		t.Error(q)
	}
	_, _, _, err = follow(t, Events{}, breakOff)
	check(t, err, "connection reset")
	_, _, _, err = follow(t, Events{}, refuse(401))
	check(t, err, "doesn't accept this API key")
}

// After any failure the stream continues after the last event.
func TestEventsReconnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		p, out, notes, err := follow(t, Events{Last: 10, Follow: true},
			send(frameOf(1), frameOf(2)), // the server goes down
			breakOff,                     // isn't there
			refuse(503),                  // not ready
			send(frameOf(3)),             // there again
			sendAndHang(frameOf(4)),      // and falls silent
			send("id: run-9\nevent: gap\ndata: {\"kind\":\"gap\",\"subject\":\"gap\"}\n\n", frameOf(10)),
		)
		check(t, err, "")
		if got := fmt.Sprint(subjects(t, out)); got != "[1 2 3 4 gap 10]" {
			t.Error(got)
		}
		var ids []string
		for _, r := range p.asked {
			ids = append(ids, r.Header.Get("Last-Event-ID"))
		}
		if got := fmt.Sprint(ids); got != "[ run-2 run-2 run-2 run-3 run-4 run-10]" {
			t.Error(got)
		}
		if n := strings.Count(notes.String(), "broke"); n != 4 { // once for each time it had worked
			t.Errorf("%d notes: %s", n, notes)
		}
		if took := time.Since(began); took < silence || took > silence+20*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

// The server goes down before the first event. The subscriber gets the later
// events and no others.
func TestEventsReconnectBeforeTheFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, out, notes, err := follow(t, Events{Last: 10, Follow: true},
			send(), breakOff, refuse(503), // as of a server that says no ID before the first event
			send("id: run-0\n\n"), breakOff, // there is nothing yet, and that is where to go on
			send(), // in silence it goes on there too
			send(frameOf(1)),
		)
		check(t, err, "")
		if got := fmt.Sprint(subjects(t, out)); got != "[1]" {
			t.Error(got)
		}
		var ids []string
		for _, r := range p.asked {
			ids = append(ids, r.Header.Get("Last-Event-ID"))
			if last := r.URL.Query().Get("last"); last != "10" {
				t.Errorf("last=%s", last)
			}
		}
		if got := fmt.Sprintf("%q", ids); got != `["" "" "" "" "run-0" "run-0" "run-0" "run-1"]` {
			t.Error(got)
		}
		if n := strings.Count(notes.String(), "broke"); n != 4 {
			t.Errorf("%d notes: %s", n, notes)
		}
	})
}

// A quiet stream continues. A dead one is given up, also at the start.
func TestEventsSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		quiet := func(w http.ResponseWriter, r *http.Request) {
			send(frameOf(2))(w, r)
			w.(*answer).pings = 100
		}
		dead := func(w http.ResponseWriter, _ *http.Request) { w.(*answer).hang = true }
		began := time.Now()
		p, out, _, err := follow(t, Events{Follow: true}, send(frameOf(1)), quiet, dead, send(frameOf(3)))
		check(t, err, "")
		if got := fmt.Sprint(subjects(t, out)); got != "[1 2 3]" || len(p.asked) != 5 {
			t.Errorf("%s after %d requests", got, len(p.asked))
		}
		if took, want := time.Since(began), 100*15*time.Second+silence; took < want || took > want+10*time.Second {
			t.Errorf("it took %v, want %v", took, want)
		}
	})
}

// Errors that a retry cannot fix end the command.
func TestEventsGiveUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, _, _, err := follow(t, Events{Follow: true}, breakOff) // the first time: somebody is waiting
		check(t, err, "connection reset")
		silent := func(w http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
			w.(*answer).err = r.Context().Err()
		}
		_, _, _, err = follow(t, Events{Follow: true}, silent)
		check(t, err, "doesn't answer in time")
		dead := func(w http.ResponseWriter, _ *http.Request) { w.(*answer).hang = true }
		_, _, _, err = follow(t, Events{}, dead)
		check(t, err, "doesn't answer in time")
		_, _, _, err = follow(t, Events{Follow: true}, refuse(503))
		check(t, err, "503 some_code")
		_, out, _, err := follow(t, Events{Follow: true}, send(frameOf(1)), refuse(401))
		check(t, err, "doesn't accept this API key")
		if got := fmt.Sprint(subjects(t, out)); got != "[1]" {
			t.Error(got)
		}
		_, _, _, err = follow(t, Events{Follow: true}, send("id: run-1\ndata: no JSON\n\n"))
		check(t, err, "not JSON")
	})
}

func TestReconnectBacksOff(t *testing.T) {
	for failures, most := range map[int]time.Duration{1: time.Second, 2: 2 * time.Second, 5: 16 * time.Second, 6: 30 * time.Second, 1000: 30 * time.Second} {
		for range 100 {
			if d := reconnectAfter(failures); d < most/2 || d > most {
				t.Errorf("after %d failures: %v", failures, d)
			}
		}
	}
}

func TestEventsForPeople(t *testing.T) {
	var out bytes.Buffer
	c, err := New(Options{Server: "https://sessions.example", Key: testKey, Out: &out})
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 11, 24, 9, 30, 0, 0, time.Local)
	for _, e := range []map[string]any{
		{"kind": "authenticated", "session": testID(1), "subject": "alice\x1b[2J", "amr": []string{"pwd", "otp"}, "level": 2, "client": v1.EventClient{IP: "203.0.113.7"}},
		{"kind": "ended", "session": testID(1), "reason": "logout"},
		{"kind": "client_changed", "session": testID(2), "client": v1.EventClient{IP: "192.0.2.2"}, "was": v1.EventClient{IP: "192.0.2.1"}},
		{"kind": "refused", "refusal": "malformed"},
		{"kind": "gap", "lost": 5, "detail": "older events are no longer kept"},
	} {
		e["time"] = at
		data, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.printEvent(frame{data: data}); err != nil {
			t.Error(err)
		}
	}
	want := `2026-11-24 09:30:00  authenticated   ` + testID(1) + `  alice\x1b[2J, by pwd+otp, level 2, from 203.0.113.7
2026-11-24 09:30:00  ended           ` + testID(1) + `  reason logout
2026-11-24 09:30:00  client_changed  ` + testID(2) + `  from 192.0.2.2, before 192.0.2.1
2026-11-24 09:30:00  refused         -                                     refused as malformed
2026-11-24 09:30:00  gap             -                                     lost 5, older events are no longer kept
`
	if got := out.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestReadFrames(t *testing.T) {
	for stream, want := range map[string]string{
		"":                     "[]",
		"data: a\n\n":          "[||a]",
		"data:a\r\n\r\n":       "[||a]",
		"data: a\ndata: b\n\n": "[||a\nb]",
		"id: 1\nevent: x\ndata: a\n\ndata: b\n\n": "[1|x|a 1||b]", // the ID stays, the kind doesn't
		"id: 1\n\ndata: a\n\n":                    "[1||a]",
		"id: 1\ndata: a\n\nid\ndata: b\n\n":       "[1||a ||b]",
		"id: 1\x002\ndata: a\n\n":                 "[||a]",
		": comment\nretry: 5\nfoo: bar\n\n":       "[]",
		"data: a\n":                               "[]", // cut off
		"data\n\n":                                "[||]",
	} {
		var got []string
		alive := 0
		err := readFrames(strings.NewReader(stream), func(string) { alive++ }, func(f frame) error {
			got = append(got, f.id+"|"+f.kind+"|"+string(f.data))
			return nil
		})
		if fmt.Sprint(got) != want || err != nil || alive != strings.Count(stream, "\n") {
			t.Errorf("%q: %q, %v, %d lines", stream, got, err, alive)
		}
	}
	if err := readFrames(strings.NewReader("data: "+strings.Repeat("x", maxLine)+"\n\n"), func(string) {}, func(frame) error { return nil }); err == nil {
		t.Error("a line without end is taken")
	}
}

// Whatever a server sends, the client ends and prints no control characters.
func FuzzReadFrames(f *testing.F) {
	f.Add([]byte(": hello\nretry: 2000\n\n" + frameOf(1) + frameOf(2)))
	f.Add([]byte("id: 1\r\ndata: {\"subject\":\"\\u001b[2J\",\"kind\":\"\u202e\"}\r\n\r\n"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		var out bytes.Buffer
		c, err := New(Options{Server: "https://sessions.example", Key: testKey, Out: &out})
		if err != nil {
			t.Fatal(err)
		}
		_ = readFrames(bytes.NewReader(stream), func(string) {}, func(fr frame) error {
			_ = c.printEvent(fr)
			return nil
		})
		for _, r := range strings.ReplaceAll(out.String(), "\n", "") {
			if unprintable(r) {
				t.Fatalf("%q", out.String())
			}
		}
	})
}
