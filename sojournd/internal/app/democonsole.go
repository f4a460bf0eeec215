package app

import (
	"context"
	"crypto/rand"
	"net"
	"strings"
	"syscall"

	"errors"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/sojournd/internal/config"
	"github.com/sojourn-go/sojourn/sojournd/internal/console"
	"github.com/sojourn-go/sojourn/sojournd/internal/events"
	"github.com/sojourn-go/sojourn/sojournd/internal/history"
	"github.com/sojourn-go/sojourn/sojournd/internal/password"
)

// DemoConsole is where the demo's console listens, if the port is free.
const DemoConsole = "127.0.0.1:7083"

// demoOperator is the name of the demo's operator.
const demoOperator = "demo"

// A demoConsole is the demo's console, which listens already.
type demoConsole struct {
	console  *console.Console
	listener net.Listener
	sessions *sojourn.Engine
	link     string // signs in once
	password string // of demoOperator
}

// openDemoConsole opens the console with one operator, who may do everything.
// The password is new in each run, because the store may outlive the demo.
func openDemoConsole(ctx context.Context, o Options, st *openedStore, hub *events.Hub, figures *history.Recorder, passwords *password.Hasher, app console.Application) (_ *demoConsole, err error) {
	d := &demoConsole{password: strings.ToLower(rand.Text()[:12])}
	hash, err := passwords.Hash(ctx, password.Caller{}, d.password)
	if err != nil {
		return nil, err
	}
	if d.listener, err = listenConsole(ctx, o.Console); err != nil {
		return nil, err
	}
	options := new(config.Console).Options(nil)
	options.OnError, options.Development = console.AnswerError, o.Development
	if d.sessions, err = sojourn.New(st.Store, options); err != nil {
		return nil, errors.Join(err, d.listener.Close())
	}
	once := rand.Text()
	d.console = newConsole(hub, figures, o.Log, passwords, once, demoOperator)
	d.console.Set(console.Setup{
		Sessions:  d.sessions,
		Operators: []console.Operator{{Name: demoOperator, Hash: hash, Roles: map[string]console.Role{"*": console.End}}},
		Apps:      []console.Application{app},
	})
	url, _ := siteURL(d.listener.Addr(), o.Development)
	d.link = url + "/sign-in?once=" + once
	return d, nil
}

// listenConsole opens the console's listener: on the address, or by default on
// DemoConsole or, if another program has that, on any free port.
func listenConsole(ctx context.Context, address string) (net.Listener, error) {
	if address != "" {
		return listen(ctx, "--console-listen", address)
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", DemoConsole)
	if errors.Is(err, syscall.EADDRINUSE) {
		return new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	}
	return l, err
}

func (d *demoConsole) close(ctx context.Context) error {
	_ = d.listener.Close() // the server closes it too
	return closeSessions(ctx, d.sessions)
}
