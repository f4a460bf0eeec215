package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strconv"

	"github.com/alecthomas/kong"

	"github.com/sojourn-go/sojourn/sojournd/internal/app"
	"github.com/sojourn-go/sojourn/sojournd/internal/client"
)

// serverFlags are the flags of the commands that call a running server. The key
// itself is in a variable, because every user can see the arguments of a process.
type serverFlags struct {
	Server    string `default:"http://127.0.0.1:7081" env:"SOJOURN_SERVER" placeholder:"URL" help:"The server's API: https://host:port, http://127.0.0.1:port, or unix:/path/to/socket. Default ${default}."`
	KeyFile   string `env:"SOJOURN_KEY_FILE" type:"path" placeholder:"FILE" help:"A file that holds only an API key of the application. The key may also be in $$SOJOURN_KEY. It cannot be on the command line, where every user of this machine could read it."`
	PlainHTTP bool   `name:"plain-http" help:"Send the key over plain HTTP to another machine. Use it only where nobody can listen."`
	JSON      bool   `name:"json" help:"Print JSON, one value on each line."`
}

// AfterApply is called by the parser. It gives Run its client.
func (f *serverFlags) AfterApply(parsed *kong.Context, out output) error {
	c, err := client.New(client.Options{
		Server: f.Server, PlainHTTP: f.PlainHTTP, Key: os.Getenv("SOJOURN_KEY"), KeyFile: f.KeyFile,
		JSON: f.JSON, Out: out.stdout, Err: out.stderr,
		Progress: func(what string, work func(func(done, total int64)) error) error {
			return app.During(out.stderr, what, work)
		},
	})
	parsed.Bind(c)
	return err
}

type sessionsCommand struct {
	List  listSessions `cmd:"" help:"List the live sessions of a running server."`
	Show  showSession  `cmd:"" help:"Show a session of a running server, with its values."`
	Set   setValue     `cmd:"" help:"Set or replace a value of a session of a running server."`
	Touch touchSession `cmd:"" help:"Note activity of a session of a running server, so that it doesn't expire yet."`
	End   endSessions  `cmd:"" help:"End sessions of a running server. Their users are signed out."`
}

type listSessions struct {
	Subject filter `placeholder:"USER" help:"List only the sessions of this user."`
	Limit   *count `placeholder:"N" help:"List at most N sessions. 0 lists all. Default 100, and with --json all."`
	Values  bool   `help:"Print the values of the sessions too. --json prints them whole."`

	SubjectPrefix filter     `placeholder:"TEXT" help:"List only sessions of users whose IDs begin so."`
	LoggedIn      bool       `xor:"who" help:"List only sessions of users."`
	Anonymous     bool       `xor:"who" help:"List only anonymous sessions."`
	Remembered    bool       `help:"List only sessions of users who asked to stay signed in."`
	Level         level      `placeholder:"N" help:"List only sessions of this level, 1 to 3, or a higher one."`
	Network       filter     `placeholder:"NETWORK" help:"List only sessions from this address or network, such as 203.0.113.0/24: at their creation, or at their last activity."`
	UserAgent     filter     `placeholder:"TEXT" help:"List only sessions whose user agent contains this, such as firefox."`
	CreatedFrom   client.Ago `placeholder:"TIME" help:"List only sessions that were created since then: a date such as 2026-11-24 (in UTC), a time such as 2026-11-24T09:30:00Z, or how long ago, such as 90m."`
	CreatedTo     client.Ago `placeholder:"TIME" help:"List only sessions that were created before."`
	SeenFrom      client.Ago `placeholder:"TIME" help:"List only sessions that have been active since then."`
	SeenTo        client.Ago `placeholder:"TIME" help:"List only sessions that have not been active since then."`
	serverFlags
}

// A filter is a text that chooses sessions. An empty one, such as a variable of
// the shell that is not set, must not choose all.
type filter string

func (f *filter) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		return errors.New("must not be empty: leave the option out to list all sessions")
	}
	*f = filter(text)
	return nil
}

// A count is a number of things.
type count int

func (c *count) UnmarshalText(text []byte) error {
	n, err := strconv.ParseUint(string(text), 10, 31)
	if err != nil {
		return fmt.Errorf("%q is no number of them: use a whole number from 0 on", text)
	}
	*c = count(n)
	return nil
}

// A level is how well a user is authenticated.
type level int

func (l *level) UnmarshalText(text []byte) error {
	n, err := strconv.ParseUint(string(text), 10, 8)
	if err != nil || n > 3 {
		return fmt.Errorf("%q is no level: use 1, 2 or 3", text)
	}
	*l = level(n)
	return nil
}

// conditions returns what the options say in the words of the API.
func (l *listSessions) conditions() url.Values {
	is := url.Values{}
	add := func(name, value string) {
		if value != "" {
			is.Set(name, value)
		}
	}
	add("subject_prefix", string(l.SubjectPrefix))
	add("network", string(l.Network))
	add("user_agent", string(l.UserAgent))
	add("created_from", string(l.CreatedFrom))
	add("created_to", string(l.CreatedTo))
	add("seen_from", string(l.SeenFrom))
	add("seen_to", string(l.SeenTo))
	if l.LoggedIn || l.Anonymous {
		add("logged_in", strconv.FormatBool(l.LoggedIn))
	}
	if l.Remembered {
		add("remembered", "true")
	}
	if l.Level > 0 {
		add("level", strconv.Itoa(int(l.Level)))
	}
	return is
}

func (l *listSessions) Validate() error {
	if l.Values && len(l.conditions()) > 0 {
		return errors.New("--values works only with --subject and --limit: sojournd sessions show prints the values of a session")
	}
	return nil
}

func (l *listSessions) Run(ctx context.Context, c *client.Client) error {
	limit := 100
	if l.JSON {
		limit = 0
	}
	if l.Limit != nil {
		limit = int(*l.Limit)
	}
	return c.ListSessions(ctx, client.List{Subject: string(l.Subject), Limit: limit, Values: l.Values, Conditions: l.conditions()})
}

type showSession struct {
	ID string `arg:"" help:"The session's ID."`
	serverFlags
}

func (s *showSession) Validate() error { return client.CheckID(s.ID) }

func (s *showSession) Run(ctx context.Context, c *client.Client) error {
	return c.ShowSession(ctx, s.ID)
}

type setValue struct {
	ID    string `arg:"" help:"The session's ID."`
	Key   string `arg:"" help:"The key of the value."`
	Value string `arg:"" help:"The value, as JSON: 5, true, null, '\"dark\"'. - reads it from standard input."`
	serverFlags
}

func (s *setValue) Validate() error { return client.CheckID(s.ID) }

func (s *setValue) Run(ctx context.Context, c *client.Client) error {
	return c.SetValue(ctx, s.ID, s.Key, s.Value, os.Stdin)
}

type touchSession struct {
	ID string `arg:"" help:"The session's ID."`
	serverFlags
}

func (s *touchSession) Validate() error { return client.CheckID(s.ID) }

func (s *touchSession) Run(ctx context.Context, c *client.Client) error {
	return c.TouchSession(ctx, s.ID)
}

type endSessions struct {
	ID  []string `arg:"" optional:"" help:"IDs of sessions. - reads IDs from standard input, one on each line."`
	All bool     `help:"End every session of the application, including anonymous ones. Requires --yes."`
	Yes bool     `help:"Confirm --all."`
	serverFlags
}

func (e *endSessions) Validate() error {
	switch {
	case e.All && len(e.ID) > 0:
		return errors.New("name sessions, or say --all")
	case e.All && !e.Yes:
		return errors.New("--all signs everybody out, and forgets every visitor: say --all --yes")
	case !e.All && len(e.ID) == 0:
		return errors.New("name the sessions to end: sojournd sessions list shows their IDs")
	}
	return nil
}

func (e *endSessions) Run(ctx context.Context, c *client.Client) error {
	if e.All {
		return c.EndAll(ctx)
	}
	return c.EndSessions(ctx, e.ID, os.Stdin)
}

type subjectsCommand struct {
	End endSubject `cmd:"" help:"End all sessions of a user on a running server."`
}

type endSubject struct {
	User   string `arg:"" help:"The user, by the name that the application passes at login."`
	Except string `placeholder:"ID" help:"Keep this session."`
	serverFlags
}

func (e *endSubject) Run(ctx context.Context, c *client.Client) error {
	return c.EndSubject(ctx, e.User, e.Except)
}

type statsCommand struct{ serverFlags }

func (s *statsCommand) Run(ctx context.Context, c *client.Client) error { return c.Stats(ctx) }

type eventsCommand struct {
	Follow bool   `short:"f" help:"Wait for further events, until Ctrl-C."`
	Last   *count `short:"n" placeholder:"N" help:"Begin with the last N events. The server keeps 10,000. Default all, and with --follow 10."`
	serverFlags
}

func (e *eventsCommand) Validate() error {
	if e.Last != nil && *e.Last > 10_000 {
		return errors.New("--last: use a number from 0 to 10000")
	}
	return nil
}

func (e *eventsCommand) Run(ctx context.Context, c *client.Client) error {
	last := 10_000
	if e.Follow {
		last = 10
	}
	if e.Last != nil {
		last = int(*e.Last)
	}
	return c.PrintEvents(ctx, client.Events{Last: last, Follow: e.Follow})
}
