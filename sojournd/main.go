// Command sojournd is the session server, and a demo of the library.
package main

import (
	"context"
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
	Demo demo `cmd:"" help:"Run a small web shop on this machine, to see what sessions are for."`
}

type demo struct {
	Listen string `default:"127.0.0.1:7080" placeholder:"HOST:PORT" help:"Address to listen on; port 0 is any free one. Default ${default}."`
	Store  string `default:"memory:" placeholder:"URL" help:"Where the sessions live: memory: (gone when it ends). Default ${default}"`
	Events bool   `help:"Log what happens to the sessions."`
}

func (d *demo) Run(ctx context.Context, out output) error {
	return app.RunDemo(ctx, app.Options{
		Listen: d.Listen, Store: d.Store, Events: d.Events,
		Out: out.stdout, Log: slog.New(slog.NewTextHandler(out.stderr, nil)),
	})
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
	parser, err := kong.New(&commands{},
		kong.Name("sojournd"),
		kong.Description("Sessions for web applications. Run `sojournd demo` to see them."),
		kong.Writers(out.stdout, out.stderr),
		kong.Exit(func(code int) { panic(exit(code)) }),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(out),
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
		return 1
	}
	return 0
}
