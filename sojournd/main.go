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
	"regexp"
	"slices"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/sojourn-go/sojourn/sojournd/internal/app"
	"github.com/sojourn-go/sojourn/sojournd/internal/config"
)

// The parser sets the fields of the command that was called. Then it calls
// Validate of each struct that has it, and Run of the command.
type commands struct {
	Demo      demo             `cmd:"" help:"Run a small web shop on this machine, to see what sessions do."`
	Serve     serve            `cmd:"" help:"Run the session server."`
	Config    configCommand    `cmd:"" help:"Check a configuration of the server, or print an example."`
	Keys      keysCommand      `cmd:"" help:"Create API keys for applications, and keys for sealed sessions."`
	Operators operatorsCommand `cmd:"" help:"Make accounts for the web console."`
	Backup    backup           `cmd:"" help:"Copy the store to a file. A server may be running."`
	Restore   restore          `cmd:"" help:"Replace the store with a backup, and end all sessions in it. Stop the server first."`
	Check     check            `cmd:"" help:"Look for damage in the store. A server may be running."`

	Sessions sessionsCommand `cmd:""`
	Subjects subjectsCommand `cmd:""`
	Stats    statsCommand    `cmd:"" help:"Count the live sessions of a running server."`
	Events   eventsCommand   `cmd:"" help:"Print what happens to the sessions of a running server."`

	Completion completion `cmd:"" help:"Print a script that completes commands and flags in a shell."`
	Complete   complete   `cmd:"" hidden:""`

	Version kong.VersionFlag `help:"Print the version, the commit, the version of Go, and what the program was built from."`
}

type demo struct {
	Listen        string `default:"127.0.0.1:7080" placeholder:"HOST:PORT" help:"The address to listen on. Port 0 chooses a free port. Default ${default}."`
	ConsoleListen string `placeholder:"HOST:PORT" help:"The address of the console. Default 127.0.0.1:7083, or a free port if that is taken."`
	Events        bool   `help:"Log what happens to the sessions."`

	Development bool `help:"Use cookies that browsers keep over plain HTTP on any host: for a phone in the same network, and for Safari. Anybody in the network can read them."`

	Sealed string `placeholder:"visitors|everyone" help:"Keep sessions in their cookies, encrypted: those of visitors until they sign in, or of everyone."`

	config.Store
}

func (d *demo) Validate() error {
	switch d.Sealed {
	case "", "visitors", "everyone":
		return d.Store.Validate()
	}
	return fmt.Errorf("--sealed %q: use visitors or everyone", d.Sealed)
}

func (d *demo) Run(ctx context.Context, out output) error {
	return app.RunDemo(ctx, app.Options{
		Listen: d.Listen, Console: d.ConsoleListen, Store: app.StoreOptions(d.WithEnvironment(os.Getenv)), Events: d.Events, Development: d.Development, Sealed: d.Sealed,
		Out: out.stdout, Log: slog.New(slog.NewTextHandler(out.stderr, nil)),
	})
}

// fileFlag is the store of the commands that work on a file.
type fileFlag struct {
	Store string `default:"sqlite:" placeholder:"URL" help:"The store, as sqlite:/path/to/file. Default ${default}, which is the file ${place}."`
}

type backup struct {
	File string `arg:"" type:"path" help:"The backup. The file must not exist."`
	fileFlag
}

func (b *backup) Run(ctx context.Context, out output) error {
	return app.Backup(ctx, app.FileOptions{Store: b.Store, File: b.File, Out: out.stdout, Progress: out.stderr})
}

type restore struct {
	File         string `arg:"" type:"path" help:"The backup."`
	KeepSessions bool   `help:"Keep the sessions. This revives sessions that ended after the backup, for example by a logout."`
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

// missingValue is what kong says of a flag at the end of the line without its
// value.
var missingValue = regexp.MustCompile(`expected \S+ value but got "EOL" \(<EOL>\)`)

// numberAsFlag is what kong says of a negative number that is no flag's value.
var numberAsFlag = regexp.MustCompile(`(unknown flag -[0-9]).*`)

// joinNegative writes a flag and a negative number after it as one word, so that
// the flag's own error tells what to write. The parser would take the number for
// a short flag.
func joinNegative(args []string) (joined []string) {
	for i, arg := range args {
		if i > 0 && negative.MatchString(arg) && flagAlone.MatchString(args[i-1]) {
			joined[len(joined)-1] += "=" + arg
		} else {
			joined = append(joined, arg)
		}
	}
	return joined
}

var (
	negative  = regexp.MustCompile(`^-[0-9]`)
	flagAlone = regexp.MustCompile(`^--[a-z-]+$`)
)

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
		kong.Description("Sessions for web applications. To see what they do, run: sojournd demo"),
		kong.Writers(out.stdout, out.stderr),
		kong.Exit(func(code int) { panic(exit(code)) }),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(out),
		kong.Vars{"version": about(), "place": place, "store_urls": config.StoreURLs},
	)
	if err != nil {
		panic(err) // the struct above is wrong
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	if args[0] == "help" {
		args = append(slices.Clone(args[1:]), "--help")
	}
	command, err := parser.Parse(joinNegative(args))
	if err != nil {
		text := missingValue.ReplaceAllString(err.Error(), "needs a value")
		text = numberAsFlag.ReplaceAllString(text, "$1: write -- before a value that begins with -")
		_, _ = fmt.Fprintf(out.stderr, "sojournd: %s\nFor the commands and their options: sojournd --help\n", text)
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
