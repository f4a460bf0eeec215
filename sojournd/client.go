package main

import (
	"context"
	"errors"
	"os"

	"github.com/sojourn-go/sojourn/sojournd/internal/app"
	"github.com/sojourn-go/sojourn/sojournd/internal/client"
)

// keyVariable holds the API key: the arguments of a process are for everybody to see.
const keyVariable = "SOJOURN_KEY"

// serverFlags are those of all commands that call a running server.
type serverFlags struct {
	Server    string `default:"http://127.0.0.1:7081" env:"SOJOURN_SERVER" placeholder:"URL" help:"The server's API: https://host:port, http://127.0.0.1:port, or unix:/path/to/socket. Default ${default}."`
	KeyFile   string `env:"SOJOURN_KEY_FILE" type:"path" placeholder:"FILE" help:"A file with an API key of the application and nothing else. The key itself may be in $$SOJOURN_KEY, but not on the command line, where everybody on this machine sees it."`
	PlainHTTP bool   `name:"plain-http" help:"Send the key over plain HTTP to another machine, where nobody can listen."`
	JSON      bool   `name:"json" help:"Print JSON, a value on each line, for programs."`
}

func (f *serverFlags) client(out output) (*client.Client, error) {
	c, err := client.New(client.Options{
		Server: f.Server, PlainHTTP: f.PlainHTTP, Key: os.Getenv(keyVariable), KeyFile: f.KeyFile,
		JSON: f.JSON, Out: out.stdout, Err: out.stderr,
		Progress: func(what string, work func(func(done, total int64)) error) error {
			return app.During(out.stderr, what, work)
		},
	})
	if err != nil {
		return nil, app.UsageError{Err: err}
	}
	return c, nil
}

type sessionsCommand struct {
	List listSessions `cmd:"" help:"List a running server's live sessions."`
	Show showSession  `cmd:"" help:"Show one session of a running server, with its values."`
	End  endSessions  `cmd:"" help:"End sessions of a running server: whoever has one is signed out."`
}

type listSessions struct {
	Subject string `placeholder:"USER" help:"Only this user's."`
	Limit   *int   `placeholder:"N" help:"How many; 0: all. Default 100, with --json all."`
	serverFlags
}

// Validate is called by the parser.
func (l *listSessions) Validate() error {
	if l.Limit != nil && *l.Limit < 0 {
		return errors.New("--limit: use a number from 0, which is all")
	}
	return nil
}

func (l *listSessions) Run(ctx context.Context, out output) error {
	c, err := l.client(out)
	if err != nil {
		return err
	}
	limit := 100
	if l.JSON {
		limit = 0
	}
	if l.Limit != nil {
		limit = *l.Limit
	}
	return c.ListSessions(ctx, client.List{Subject: l.Subject, Limit: limit})
}

type showSession struct {
	ID string `arg:"" help:"The session's ID."`
	serverFlags
}

// Validate is called by the parser.
func (s *showSession) Validate() error { return client.CheckID(s.ID) }

func (s *showSession) Run(ctx context.Context, out output) error {
	c, err := s.client(out)
	if err != nil {
		return err
	}
	return c.ShowSession(ctx, s.ID)
}

type endSessions struct {
	ID  []string `arg:"" optional:"" help:"IDs of sessions. - reads them from standard input, one on each line."`
	All bool     `help:"End every session of the application, anonymous ones too. Needs --yes."`
	Yes bool     `help:"Yes, all of them."`
	serverFlags
}

// Validate is called by the parser.
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

func (e *endSessions) Run(ctx context.Context, out output) error {
	c, err := e.client(out)
	if err != nil {
		return err
	}
	if e.All {
		return c.EndAll(ctx)
	}
	return c.EndSessions(ctx, e.ID, os.Stdin)
}

type subjectsCommand struct {
	End endSubject `cmd:"" help:"End all sessions of a user on a running server: they are signed out everywhere."`
}

type endSubject struct {
	User   string `arg:"" help:"The user, as the application calls them when they log in."`
	Except string `placeholder:"ID" help:"A session that goes on."`
	serverFlags
}

func (e *endSubject) Run(ctx context.Context, out output) error {
	c, err := e.client(out)
	if err != nil {
		return err
	}
	return c.EndSubject(ctx, e.User, e.Except)
}

type statsCommand struct{ serverFlags }

func (s *statsCommand) Run(ctx context.Context, out output) error {
	c, err := s.client(out)
	if err != nil {
		return err
	}
	return c.Stats(ctx)
}

type eventsCommand struct {
	Follow bool `short:"f" help:"Go on with what happens, until Ctrl-C."`
	Last   *int `short:"n" placeholder:"N" help:"Begin with so many of the last 10,000. Default all of them; with --follow 10."`
	serverFlags
}

// Validate is called by the parser.
func (e *eventsCommand) Validate() error {
	if e.Last != nil && (*e.Last < 0 || *e.Last > 10_000) {
		return errors.New("--last: use a number from 0 to 10000")
	}
	return nil
}

func (e *eventsCommand) Run(ctx context.Context, out output) error {
	c, err := e.client(out)
	if err != nil {
		return err
	}
	last := 10_000
	if e.Follow {
		last = 10
	}
	if e.Last != nil {
		last = *e.Last
	}
	return c.PrintEvents(ctx, client.Events{Last: last, Follow: e.Follow})
}
