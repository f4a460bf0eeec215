// Command sojournd is the session server, and a demo of the library.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/sojourn-go/sojourn/sojournd/internal/app"
)

type commands struct {
	Demo    demo          `cmd:"" help:"Run a small web shop on this machine, to see what sessions are for."`
	Serve   serve         `cmd:"" help:"Run the session server, for applications in any language and behind any proxy."`
	Config  configCommand `cmd:"" help:"Check a configuration of the server, or print one to start from."`
	Keys    keysCommand   `cmd:"" help:"Make API keys for applications."`
	Backup  backup        `cmd:"" help:"Copy the store to a file, while a server uses it or not."`
	Restore restore       `cmd:"" help:"Put a backup in the store's place, and end all its sessions. The server must be stopped."`
	Check   check         `cmd:"" help:"Look for damage in the store, while a server uses it or not."`

	Sessions sessionsCommand `cmd:""`
	Subjects subjectsCommand `cmd:""`
	Stats    statsCommand    `cmd:"" help:"Count a running server's live sessions."`
	Events   eventsCommand   `cmd:"" help:"Tell what happens to a running server's sessions."`

	Version kong.VersionFlag `help:"Print the version."`
}

type storeFlag struct {
	Store             string `default:"sqlite:" env:"${store_variable}" placeholder:"URL" help:"Where the sessions live: sqlite:/path/to/file, sqlite: alone for ${place}, memory: for no longer than the process; for many nodes redis://user@host:6379/0, redis-cluster://host:6379,host:6379 or postgres://user@host/database, with TLS rediss:// and rediss-cluster://, and for PostgreSQL ?sslmode=verify-full. Default ${default}"`
	StorePasswordFile string `placeholder:"FILE" type:"path" help:"A file with the database's password and nothing else. It may also be in the environment: ${password_variable}."`
	StoreCA           string `name:"store-ca" placeholder:"FILE" type:"path" help:"Certificates (PEM) that vouch for the database's, instead of the system's."`
	StoreFeed         string `placeholder:"URL" help:"PostgreSQL itself, where --store leads to PgBouncer: changes are listened to there."`
}

// Validate is called by the parser.
func (f *storeFlag) Validate() error {
	for flag, url := range map[string]string{"--store": f.Store, "--store-feed": f.StoreFeed} {
		if url != os.Getenv(app.StoreVariable) {
			if err := app.CheckVisible(flag, url); err != nil {
				return err
			}
		}
	}
	return nil
}

func (f *storeFlag) options() app.StoreOptions {
	return app.StoreOptions{URL: f.Store, PasswordFile: f.StorePasswordFile, CAFile: f.StoreCA, Feed: f.StoreFeed}
}

type fileFlag struct {
	Store string `default:"sqlite:" placeholder:"URL" help:"Where the sessions live: sqlite:/path/to/file, or sqlite: alone for ${place}. Default ${default}"`
}

type demo struct {
	Listen string `default:"127.0.0.1:7080" placeholder:"HOST:PORT" help:"Address to listen on; port 0 is any free one. Default ${default}."`
	Events bool   `help:"Log what happens to the sessions."`
	storeFlag
}

func (d *demo) Run(ctx context.Context, out output) error {
	return app.RunDemo(ctx, app.Options{
		Listen: d.Listen, Store: d.options(), Events: d.Events,
		Out: out.stdout, Log: slog.New(slog.NewTextHandler(out.stderr, nil)),
	})
}

type backup struct {
	File string `arg:"" type:"path" help:"The backup. It must not be there yet."`
	fileFlag
}

func (b *backup) Run(ctx context.Context, out output) error {
	return app.Backup(ctx, app.FileOptions{Store: b.Store, File: b.File, Out: out.stdout, Progress: out.stderr})
}

type restore struct {
	File         string `arg:"" type:"path" help:"A backup."`
	KeepSessions bool   `help:"Don't end the sessions. Those that were ended after the backup was made, by a logout say, go on too."`
	fileFlag
}

func (r *restore) Run(ctx context.Context, out output) error {
	return app.Restore(ctx, app.FileOptions{Store: r.Store, File: r.File, KeepSessions: r.KeepSessions, Out: out.stdout, Progress: out.stderr})
}

type check struct{ fileFlag }

func (c *check) Run(ctx context.Context, out output) error {
	return app.Check(ctx, app.FileOptions{Store: c.Store, Out: out.stdout, Progress: out.stderr})
}

type output struct{ stdout, stderr io.Writer }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C kills
	os.Exit(run(ctx, os.Args[1:], output{os.Stdout, os.Stderr}))
}

// run returns the exit code: 0, 1 if the command failed, 2 if the command line is wrong.
func run(ctx context.Context, args []string, out output) (code int) {
	type exit int
	defer func() { // --help exits from within the parser
		if e := recover(); e != nil {
			if _, ok := e.(exit); !ok {
				panic(e)
			}
			code = int(e.(exit))
		}
	}()
	place, err := app.DefaultStore()
	if err != nil {
		place = "sojourn/sojourn.db in the state directory"
	}
	parser, err := kong.New(&commands{},
		kong.Name("sojournd"),
		kong.Description("Sessions for web applications. Run `sojournd demo` to see them."),
		kong.Writers(out.stdout, out.stderr),
		kong.Exit(func(code int) { panic(exit(code)) }),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(out),
		kong.Vars{"version": "sojournd " + version(), "place": place, "store_variable": app.StoreVariable, "password_variable": app.StorePasswordVariable},
	)
	if err != nil {
		panic(err) // the struct above is wrong
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	command, err := parser.Parse(args)
	if err != nil {
		_, _ = fmt.Fprintf(out.stderr, "sojournd: %v\nsojournd --help lists the commands and what they take.\n", err)
		return 2
	}
	if err := command.Run(); err != nil {
		_, _ = fmt.Fprintf(out.stderr, "sojournd: %v\n", err)
		if mistake := new(app.UsageError); errors.As(err, mistake) {
			return 2
		}
		return 1
	}
	return 0
}
