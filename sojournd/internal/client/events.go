package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/sojourn-go/sojourn/sojournd/internal/api/v1"
)

// Events selects the events for PrintEvents.
type Events struct {
	Last   int // begin with so many past events
	Follow bool
}

const (
	reconnectFirst = time.Second
	reconnectMost  = 30 * time.Second

	// silence is how long a stream may send nothing. The server sends a ping
	// every quarter of that.
	silence = time.Minute
)

// PrintEvents prints events of the application's sessions. With Follow it waits
// for more until ctx is done, and then returns nil. If the connection breaks,
// it reconnects and continues after the last event.
func (c *Client) PrintEvents(ctx context.Context, e Events) error {
	query := url.Values{"last": {strconv.Itoa(e.Last)}, "follow": {strconv.FormatBool(e.Follow)}}
	var at place
	for {
		err := c.stream(ctx, query, &at)
		var broken *brokenError
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // Ctrl-C ends the command
		case err != nil && (!e.Follow || !errors.As(err, &broken)):
			return err
		case !e.Follow:
			return nil
		}
		if at.failures == 0 {
			c.note("The connection to the server broke: trying again.")
		}
		at.failures++
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(reconnectAfter(at.failures)):
		}
	}
}

// A place is the place in the stream at which to continue.
type place struct {
	opened   bool   // there was a connection
	lastID   string // the last ID from the server, which also sends one before the first event
	failures int    // since the last data
}

func reconnectAfter(failures int) time.Duration {
	d := min(reconnectFirst<<min(failures-1, 10), reconnectMost)
	return d/2 + rand.N(d/2)
}

// A brokenError is a failure that may be temporary.
type brokenError struct{ error }

func (e *brokenError) Unwrap() error { return e.error }

// stream reads one connection until it ends, and prints its events.
func (c *Client) stream(ctx context.Context, query url.Values, at *place) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	quiet := time.AfterFunc(silence, func() { cancel(context.DeadlineExceeded) })
	defer quiet.Stop()
	header := http.Header{"Accept": {"text/event-stream"}}
	if at.lastID != "" {
		header.Set("Last-Event-ID", at.lastID)
	}
	res, err := c.open(ctx, http.MethodGet, "/v1/events", query, header, nil)
	if err != nil {
		if errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
			err = c.explain(context.DeadlineExceeded)
		}
		if p := new(v1.Problem); errors.As(err, &p) && p.Status < 500 {
			return err
		}
		if !at.opened { // report a failure of the first connection
			return err
		}
		return &brokenError{err}
	}
	defer res.Body.Close() //nolint:errcheck // read only
	at.opened = true
	alive := func(lastID string) {
		quiet.Reset(silence)
		at.failures = 0
		if lastID != "" {
			at.lastID = lastID
		}
	}
	var printed error
	err = readFrames(res.Body, alive, func(f frame) error {
		printed = c.printEvent(f)
		return printed
	})
	switch {
	case printed != nil:
		return printed
	case err == nil && query.Get("follow") == "false":
		return nil
	case errors.Is(context.Cause(ctx), context.DeadlineExceeded):
		err = context.DeadlineExceeded
	case err == nil:
		err = io.ErrUnexpectedEOF
	}
	return &brokenError{c.explain(err)}
}

// A frame is one server-sent event.
type frame struct {
	id, kind string
	data     []byte
}

const maxLine = 1 << 20

// readFrames reads an event stream by the EventSource standard, except for a
// carriage return as a line end. It ignores an incomplete frame at the end.
// After each line it passes the last ID to alive; a frame without data may set
// it too.
func readFrames(r io.Reader, alive func(lastID string), each func(frame) error) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 4096), maxLine)
	var f frame
	var data [][]byte
	lastID := ""
	for lines.Scan() {
		line := lines.Bytes()
		if len(line) == 0 {
			if len(data) > 0 {
				f.data = bytes.Join(data, []byte("\n"))
				if err := each(f); err != nil {
					return err
				}
			}
			f, data, lastID = frame{id: f.id}, nil, f.id
			alive(lastID)
			continue
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(name) {
		case "id":
			if bytes.IndexByte(value, 0) < 0 {
				f.id = string(value)
			}
		case "event":
			f.kind = string(value)
		case "data":
			data = append(data, bytes.Clone(value))
		}
		alive(lastID)
	}
	return lines.Err()
}

func (c *Client) printEvent(f frame) error {
	if c.opt.JSON {
		if !json.Valid(f.data) {
			return fmt.Errorf("the server sent an event that is not JSON, after %s", clean(f.id))
		}
		return c.printJSON(json.RawMessage(f.data))
	}
	var e v1.Event
	if err := json.Unmarshal(f.data, &e); err != nil {
		return fmt.Errorf("read an event, after %s: %w", clean(f.id), err)
	}
	var words []string
	word := func(name, value string) {
		if value != "" {
			words = append(words, strings.TrimSpace(name+" "+clean(value)))
		}
	}
	word("", e.Subject)
	word("reason", e.Reason)
	word("refused as", e.Refusal)
	word("by", strings.Join(e.AMR, "+"))
	if e.Level != nil {
		word("level", strconv.Itoa(*e.Level))
	}
	if e.Client != nil {
		word("from", e.Client.IP)
	}
	if e.Was != nil && (e.Client == nil || e.Was.IP != e.Client.IP) {
		word("before", e.Was.IP)
	}
	if e.Lost > 0 {
		word("lost", strconv.Itoa(e.Lost))
	}
	word("", e.Detail)
	id := clean(e.Session)
	if id == "" {
		id = "-"
	}
	// The columns have a fixed width, because later events are not known.
	line := fmt.Sprintf("%s  %-14s  %-36s  %s", e.Time.Local().Format("2006-01-02 15:04:05"), clean(e.Kind), id, strings.Join(words, ", "))
	return c.printf("%s\n", strings.TrimRight(line, " "))
}
