package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/dustin/go-humanize/english"
	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/sojournd/internal/api/v1"
)

// expires is the earlier of the two deadlines.
func expires(s *v1.Session) time.Time {
	if s.IdleExpiresAt.Before(s.ExpiresAt) {
		return s.IdleExpiresAt
	}
	return s.ExpiresAt
}

func who(s *v1.Session) string {
	if s.Subject == "" {
		return "(nobody)"
	}
	return clean(s.Subject)
}

// List selects the sessions for ListSessions.
type List struct {
	Subject string // empty: all users, and anonymous sessions
	Limit   int    // 0: all
	Values  bool   // print the values too

	Conditions url.Values // of the API's search; empty: none
}

// An Ago is a point in time, as the API writes it. Its text is such a time, a date,
// or how long ago it was.
type Ago string

// UnmarshalText implements encoding.TextUnmarshaler.
func (a *Ago) UnmarshalText(text []byte) error {
	at, err := v1.ParseMoment(string(text))
	if ago, wrong := time.ParseDuration(string(text)); wrong == nil && ago >= 0 {
		at, err = time.Now().Add(-ago), nil
	}
	if err != nil {
		return fmt.Errorf("%q is no time: write a date such as 2026-11-24, a time such as 2026-11-24T09:30:00Z, or how long ago it was, such as 90m", text)
	}
	*a = Ago(at.UTC().Format(time.RFC3339))
	return nil
}

const pageSize = 1000

// ListSessions prints live sessions.
func (c *Client) ListSessions(ctx context.Context, l List) error {
	var rows []*v1.Session
	printed, more := 0, false
	err := c.opt.Progress("Listing", func(report func(done, total int64)) error {
		total := c.expected(ctx, l)
		for cursor := ""; ; {
			page, next, share, err := c.page(ctx, l, cursor, printed)
			if err != nil {
				return err
			}
			for _, raw := range page {
				printed++
				if c.opt.JSON {
					if err := c.printJSON(raw); err != nil {
						return err
					}
					continue
				}
				s := new(v1.Session)
				if err := json.Unmarshal(raw, s); err != nil {
					return fmt.Errorf("read a session that the server listed: %w", err)
				}
				rows = append(rows, s)
			}
			if len(l.Conditions) > 0 {
				report(int64(1000*share), 1000)
			} else {
				report(int64(printed), max(total, int64(printed)))
			}
			if cursor = next; cursor == "" || l.Limit > 0 && printed >= l.Limit {
				more = cursor != ""
				return nil
			}
		}
	})
	if err != nil {
		return err
	}
	if !c.opt.JSON {
		if err := c.printSessions(rows, l.Values); err != nil {
			return err
		}
	}
	if printed == 0 && l.Conditions.Get("logged_in") == "false" {
		var s v1.Stats
		if err := c.call(ctx, http.MethodGet, "/v1/stats", nil, &s); err == nil && s.VisitorsSealed { // the list was complete without the hint
			c.note("The sessions of visitors are in their cookies (applications[].sealed), so no list has them.")
		}
	}
	if more && len(l.Conditions) > 0 {
		c.note("There may be more sessions: use a higher --limit, or --limit 0 to search to the end.")
	} else if more {
		c.note("There are more sessions: use a higher --limit, or --limit 0 to list all.")
	}
	return nil
}

// expected estimates how many sessions will be listed. It returns 0 if it
// cannot.
func (c *Client) expected(ctx context.Context, l List) int64 {
	if l.Subject != "" || len(l.Conditions) > 0 || l.Limit > 0 && l.Limit <= pageSize {
		return int64(l.Limit)
	}
	var s v1.Stats
	if err := c.call(ctx, http.MethodGet, "/v1/stats", nil, &s); err != nil {
		return 0 // the list will report the error
	}
	if l.Limit > 0 {
		return min(s.Sessions, int64(l.Limit))
	}
	return s.Sessions
}

// page returns a page of a list or of a search. share tells how much of a search
// is done.
func (c *Client) page(ctx context.Context, l List, cursor string, have int) (sessions []json.RawMessage, next string, share float64, err error) {
	size := pageSize
	if l.Limit > 0 {
		size = min(size, l.Limit-have)
	}
	query := url.Values{"limit": {strconv.Itoa(size)}}
	if l.Subject != "" {
		query.Set("subject", l.Subject)
	}
	if cursor != "" {
		query.Set("cursor", cursor)
	}
	if l.Values {
		query.Set("values", "true")
	}
	var page struct {
		Sessions   []json.RawMessage `json:"sessions"`
		NextCursor string            `json:"next_cursor"`
		Share      float64           `json:"share"`
	}
	path := "/v1/sessions"
	if len(l.Conditions) > 0 {
		path += "/search"
		maps.Copy(query, l.Conditions)
	}
	err = c.call(ctx, http.MethodGet, path, query, &page)
	return page.Sessions, page.NextCursor, page.Share, err
}

func (c *Client) printSessions(rows []*v1.Session, values bool) error {
	if len(rows) == 0 {
		c.note("There are no such sessions.")
		return nil
	}
	headings := []any{"SESSION", "USER", "LEVEL", "BOUND", "SIGNED IN", "LAST SEEN", "EXPIRES", "IP", "CLIENT"}
	if values {
		headings = append(headings, "VALUES")
	}
	t := newTable(headings...)
	for _, s := range rows {
		name := s.Client.Name
		if name == "" {
			name = s.Client.UserAgent
		}
		level, bound := "", ""
		if s.Subject != "" {
			level, bound = strconv.Itoa(s.Level), yesNo(s.Bound)
		}
		row := table.Row{
			clean(s.ID), short(who(s), 40), level, bound, c.ago(s.AuthenticatedAt), c.ago(s.LastSeenAt), c.ago(expires(s)),
			clean(s.Client.IP), short(clean(name), 40),
		}
		if values {
			row = append(row, short(clean(string(s.Values)), 80))
		}
		t.AppendRow(row)
	}
	return c.printf("%s\n", t.Render())
}

// ShowSession prints one session.
func (c *Client) ShowSession(ctx context.Context, id string) error {
	s, err := c.oneSession(ctx, http.MethodGet, id, "")
	if s == nil || err != nil {
		return err
	}
	t := newTable()
	row := func(name, value string) {
		if value != "" {
			t.AppendRow(table.Row{name, value})
		}
	}
	row("Session", clean(s.ID))
	row("User", who(s))
	row("Created", c.when(s.CreatedAt))
	row("Signed in", c.when(s.AuthenticatedAt))
	if s.Subject != "" {
		row("How", clean(strings.Join(s.AMR, ", ")))
		row("Level", strconv.Itoa(s.Level))
		row("Remembered", yesNo(s.Remembered))
		row("Bound", yesNo(s.Bound))
	}
	row("Cookie", map[bool]string{true: "until the browser closes"}[s.UntilBrowserCloses])
	row("Last seen", c.when(s.LastSeenAt))
	row("Expires, if idle", c.when(s.IdleExpiresAt))
	row("Expires at last", c.when(s.ExpiresAt))
	row("IP", clean(s.Client.IP))
	row("Client", clean(s.Client.Name))
	row("User agent", clean(s.Client.UserAgent))
	row("Revision", strconv.FormatUint(s.Revision, 10))
	if err := c.printf("%s\n", t.Render()); err != nil {
		return err
	}
	var values bytes.Buffer
	if len(s.Values) == 0 || string(s.Values) == "{}" || json.Indent(&values, s.Values, "", "  ") != nil {
		return c.printf("\nIt has no values.\n")
	}
	return c.printf("\n%s\n", cleanLines(values.String()))
}

func yesNo(yes bool) string {
	if yes {
		return "yes"
	}
	return "no"
}

// cleanLines is clean for several lines.
func cleanLines(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = clean(lines[i])
	}
	return strings.Join(lines, "\n")
}

// SetValue sets or replaces a value of a session, whatever its revision is. The
// value is JSON; for "-" it reads the value from in.
func (c *Client) SetValue(ctx context.Context, id, key, value string, in io.Reader) error {
	path, err := sessionPath(id)
	if err != nil {
		return err
	}
	text := []byte(value)
	if value == "-" {
		if text, err = readAll(ctx, in); err != nil {
			return fmt.Errorf("read the value: %w", err)
		}
	}
	if !json.Valid(text) {
		return errors.New("the value is not JSON: write a text in quotes, as in '\"dark\"'")
	}
	var raw json.RawMessage
	header := http.Header{"If-Match": {"*"}, "Content-Type": {"application/json"}}
	err = c.send(ctx, http.MethodPut, path+"/values/"+strings.ReplaceAll(url.PathEscape(key), ".", "%2E"), nil, header, bytes.NewReader(text), &raw)
	if err != nil {
		return c.missing(id, err)
	}
	if c.opt.JSON {
		return c.printJSON(raw)
	}
	return c.printf("Set %s.\n", clean(key))
}

// readAll is io.ReadAll until the context ends. A read from a terminal or a pipe
// can't be stopped: it ends with the process.
func readAll(ctx context.Context, in io.Reader) ([]byte, error) {
	var text []byte
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		text, err = io.ReadAll(in)
	}()
	select {
	case <-done:
		return text, err
	case <-ctx.Done():
		return nil, errors.New("interrupted: nothing was changed")
	}
}

// TouchSession notes activity of a session.
func (c *Client) TouchSession(ctx context.Context, id string) error {
	s, err := c.oneSession(ctx, http.MethodPost, id, "/touch")
	if s == nil || err != nil {
		return err
	}
	return c.printf("Without further activity the session expires %s.\n", c.ago(expires(s)))
}

// oneSession makes a call that answers with a session. With --json it prints the
// answer, and returns nil.
func (c *Client) oneSession(ctx context.Context, method, id, call string) (*v1.Session, error) {
	path, err := sessionPath(id)
	if err != nil {
		return nil, err
	}
	var raw json.RawMessage
	if err := c.call(ctx, method, path+call, nil, &raw); err != nil {
		return nil, c.missing(id, err)
	}
	if c.opt.JSON {
		return nil, c.printJSON(raw)
	}
	s := new(v1.Session)
	if err := json.Unmarshal(raw, s); err != nil {
		return nil, fmt.Errorf("read the session: %w", err)
	}
	return s, nil
}

// CheckID returns an error unless the text is a session's ID.
func CheckID(id string) error {
	_, err := sessionPath(id)
	return err
}

func sessionPath(id string) (string, error) {
	parsed, err := sojourn.ParseID(id)
	if err != nil {
		return "", fmt.Errorf("%q is no session's ID: sojournd sessions list shows them", id)
	}
	return "/v1/sessions/" + parsed.String(), nil
}

// missing returns a clear error if the session does not exist.
func (c *Client) missing(id string, err error) error {
	if p := new(v1.Problem); errors.As(err, &p) && p.Code == "session_not_found" {
		return fmt.Errorf("there is no live session %s in this key's application", id)
	}
	return err
}

// EndSessions ends sessions by their IDs. For "-" it reads IDs from in, one on
// each line. It continues if a session does not exist, and reports that at the
// end.
func (c *Client) EndSessions(ctx context.Context, ids []string, in io.Reader) error {
	var all []string
	for _, id := range ids {
		if id != "-" {
			all = append(all, id)
			continue
		}
		text, err := readAll(ctx, in)
		if err != nil {
			return fmt.Errorf("read IDs: %w", err)
		}
		for line := range strings.Lines(string(text)) {
			if line = strings.TrimSpace(line); line != "" {
				all = append(all, line)
			}
		}
	}
	paths := make([]string, len(all))
	for i, id := range all { // check all before the first ends
		var err error
		if paths[i], err = sessionPath(id); err != nil {
			return err
		}
	}
	ended, missing := 0, []string{}
	err := c.opt.Progress("Ending", func(report func(done, total int64)) error {
		for i, path := range paths {
			err := c.call(ctx, http.MethodDelete, path, nil, nil)
			if p := new(v1.Problem); errors.As(err, &p) && p.Status == http.StatusNotFound {
				missing = append(missing, all[i])
			} else if err != nil {
				return err
			} else {
				ended++
			}
			report(int64(i+1), int64(len(paths)))
		}
		return nil
	})
	var printed error
	if c.opt.JSON {
		printed = c.printJSON(map[string]any{"ended": ended, "missing": missing})
	} else if ended > 0 || len(missing) == 0 {
		printed = c.printf("Ended %s.\n", english.Plural(ended, "session", ""))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("after %d of %d: %w", ended+len(missing), len(paths), err), printed)
	}
	if n := len(missing); n > 0 {
		const most = 5
		list := strings.Join(missing[:min(n, most)], " ")
		if n > most {
			list += " …"
		}
		return errors.Join(fmt.Errorf("no live session in this key's application: %s: %s", english.Plural(n, "ID", ""), list), printed)
	}
	return printed
}

// EndAll ends every session of the application.
func (c *Client) EndAll(ctx context.Context) error {
	if err := c.call(ctx, http.MethodDelete, "/v1/sessions", url.Values{"all": {"true"}}, nil); err != nil {
		return err
	}
	if c.opt.JSON {
		return c.printJSON(map[string]any{"ended_all": true})
	}
	return c.printf("Ended all sessions of the application.\n")
}

// EndSubject ends a user's sessions. If except is not empty, that session is
// kept.
func (c *Client) EndSubject(ctx context.Context, subject, except string) error {
	query := url.Values{"subject": {subject}}
	if except != "" {
		if _, err := sessionPath(except); err != nil {
			return err
		}
		query.Set("except", except)
	}
	var answer v1.Ended
	if err := c.call(ctx, http.MethodDelete, "/v1/sessions", query, &answer); err != nil {
		return err
	}
	if c.opt.JSON {
		return c.printJSON(answer)
	}
	if answer.Ended == nil {
		return fmt.Errorf("the server at %s doesn't tell how many sessions it ended", c.opt.Server)
	}
	return c.printf("Ended %s of %s.\n", english.Plural(*answer.Ended, "session", ""), clean(subject))
}

// Stats prints the numbers of sessions.
func (c *Client) Stats(ctx context.Context) error {
	var raw json.RawMessage
	if err := c.call(ctx, http.MethodGet, "/v1/stats", nil, &raw); err != nil {
		return err
	}
	if c.opt.JSON {
		return c.printJSON(raw)
	}
	var s v1.Stats
	if err := json.Unmarshal(raw, &s); err != nil {
		return fmt.Errorf("read the counts: %w", err)
	}
	t := newTable()
	t.AppendRow(table.Row{"Live sessions", humanize.Comma(s.Sessions)})
	t.AppendRow(table.Row{"  signed in", humanize.Comma(s.LoggedIn)})
	t.AppendRow(table.Row{"  anonymous", humanize.Comma(s.Anonymous)})
	return c.printf("%s\n", t.Render())
}
