// Package app puts the parts of sojournd together and runs them.
package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/sojournd/internal/api/v1"
	"github.com/sojourn-go/sojourn/sojournd/internal/console"
	"github.com/sojourn-go/sojourn/sojournd/internal/events"
	"github.com/sojourn-go/sojourn/sojournd/internal/password"
	"github.com/sojourn-go/sojourn/sojournd/internal/shop"
)

// Options are the options of the demo.
type Options struct {
	Listen  string       // host:port; port 0 is any free one
	Console string       // the console's; empty: DemoConsole, or any free port if that is taken
	Store   StoreOptions // where sessions are stored
	Out     io.Writer    // gets messages for people
	Log     *slog.Logger // nil: no log
	Events  bool         // log the sessions' events too

	Development bool   // as sojourn.Options.Development
	Sealed      string // whose sessions are in their cookies: "visitors" or "everyone"; default nobody's
}

// A UsageError is a mistake on the command line, or in a variable that replaces
// a flag.
type UsageError struct{ Err error }

func (e UsageError) Error() string { return e.Err.Error() }
func (e UsageError) Unwrap() error { return e.Err }

// usage returns an error that begins with a flag as a UsageError.
func usage(err error) error {
	if err != nil && strings.HasPrefix(err.Error(), "--") {
		return UsageError{err}
	}
	return err
}

// shutdownTimeout is how long a shutdown waits for requests in flight.
const shutdownTimeout = 5 * time.Second

// demoAccounts are accounts to try. Their passwords are not secret.
var demoAccounts = []shop.Account{
	{Email: "ada@example.com", Password: "difference-engine"},
	{Email: "ben@example.com", Password: "kite-and-lightning"},
}

// RunDemo runs the demo until the context ends. Then it waits for the requests
// in flight and returns nil.
func RunDemo(ctx context.Context, o Options) (err error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	st, err := openStore(ctx, o.Store, o.Log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()

	users, usersPath, err := openUsers(ctx, st)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, users.Close()) }()

	listener, err := listen(ctx, "--listen", o.Listen)
	if err != nil {
		return err
	}
	defer listener.Close() //nolint:errcheck // the server closes it too

	hub := events.New(events.Options{Log: o.Log})
	if err := hub.Configure([]events.App{{Name: "shop"}}); err != nil {
		return err
	}
	defer hub.Close(ctx)
	options := sojourn.Options{App: "shop", OnError: shop.AnswerError, Development: o.Development}
	var sessions *sojourn.Engine
	engines := func() map[string]*sojourn.Engine { return map[string]*sojourn.Engine{options.App: sessions} }
	m := newMetrics(st, engines)
	m.history = newHistory(st, engines)
	m.history.Configure([]string{options.App})
	publish, write := hub.Observer(options.App), func(sojourn.Event) {}
	if o.Events {
		write = sojourn.LogEvents(o.Log)
	}
	options.OnEvent = func(e sojourn.Event) { publish(e); m.count(e); write(e) }
	if options.Sealed, err = demoSealing(o.Sealed, users, usersPath); err != nil {
		return err
	}
	if o.Sealed != "everyone" { // those can't be bound
		options.Bound = &sojourn.Binding{Script: true, Grace: time.Second}
	}
	kept := demoStore(m.store(), options.Sealed)
	if sessions, err = sojourn.New(kept, options); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeSessions(ctx, sessions)) }()

	passwords, err := password.New(password.Cost{})
	if err != nil {
		return err
	}
	operators, err := openDemoConsole(ctx, o, st, hub, m.history, passwords, console.Application{Name: options.App, Sessions: sessions, MaxSessions: 100})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, operators.close(ctx)) }()

	accounts, err := shop.AddDemo(ctx, users, passwords, demoAccounts)
	if err != nil {
		return err
	}
	handler, err := shop.New(shop.Options{Sessions: sessions, Users: users, Passwords: passwords, Demo: accounts, Log: o.Log, Story: &shop.Story{
		Store: kept, App: options.App, Visitors: options.Sealed != nil,
		Events: func(session string, limit int) []v1.Event {
			list, _ := hub.Find(options.App, session, limit)
			return list
		},
	}})
	if err != nil {
		return err
	}
	greet(o, listener.Addr(), accounts, operators, st, usersPath)
	ended := func() {
		handler.Close() // ends the live streams, which would delay the shutdown
		hub.EndStreams()
	}
	defer m.history.Start(ctx)()
	return serve(ctx, o.Log, ended, service{listener, handler}, service{operators.listener, operators.console})
}

// openUsers opens the shop's accounts and returns the path of their file:
// beside the store's file, or in the state directory if the store is a database
// server. If the store is in memory, the accounts are too, and the path is
// empty.
func openUsers(ctx context.Context, st *openedStore) (_ *shop.Users, path string, err error) {
	switch {
	case !st.keeps:
		users, err := shop.NewMemoryUsers(ctx)
		return users, "", err
	case st.path != "":
		path = shopPath(st.path)
		users, err := shop.OpenUsers(ctx, path)
		return users, path, err
	}
	file, err := DefaultStore()
	if err != nil {
		return nil, "", err
	}
	path = shopPath(file)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, "", fmt.Errorf("the shop's accounts: %w", err)
	}
	users, err := shop.OpenSharedUsers(ctx, path) // several demos on this machine may share the store
	return users, path, err
}

// closeSessions closes an engine within shutdownTimeout, even after the context
// has ended.
func closeSessions(ctx context.Context, sessions *sojourn.Engine) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	return sessions.Close(ctx)
}

// listen opens the listener of a flag. Its errors say what to do.
func listen(ctx context.Context, flag, address string) (net.Listener, error) {
	use := "use host:port, as in " + flag + " 127.0.0.1:7080; port 0 is any free one"
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, UsageError{fmt.Errorf("%s %q is no address: %s", flag, address, use)}
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return nil, UsageError{fmt.Errorf("%s %q: the port must be a number from 0 to 65535: %s", flag, address, use)}
	}
	l, err := listenTCP(ctx, address)
	if err != nil {
		return nil, fmt.Errorf("%s %w; to use a free port: %[1]s %[3]s", flag, err, net.JoinHostPort(host, "0"))
	}
	return l, nil
}

// greet prints the demo's address and accounts.
func greet(o Options, address net.Addr, accounts []shop.Account, operators *demoConsole, st *openedStore, usersPath string) {
	w := o.Out
	url, note := siteURL(address, o.Development)
	_, _ = fmt.Fprintf(w, "\n  Wayfare, a shop on Sojourn:  %s\n  What its sessions do, live:  %[1]s/story\n\n  Accounts to try:\n", url)
	for _, a := range accounts {
		_, _ = fmt.Fprintf(w, "    %-18s  %s\n", a.Email, a.Password)
	}
	_, _ = fmt.Fprintf(w, "\n  The console, where operators see the shop's sessions. This link signs in once:\n    %s\n  Later: the name %s with the password %s\n  It finds users by their IDs: ada@example.com is demo-ada\n",
		operators.link, demoOperator, operators.password)
	note += sealedNote(o.Sealed, usersPath)
	switch {
	case o.Sealed == "everyone" && usersPath != "":
		note += fmt.Sprintf("  Accounts are kept in %s\n\n", usersPath)
	case !st.keeps:
		note += "  Sessions and accounts are in memory, and gone when this ends.\n"
	case st.path != "":
		note += fmt.Sprintf("  Sessions are kept in   %s\n  and accounts in        %s\n"+
			"  Both are there again after a restart. To forget them, stop this and delete the two files;\n"+
			"  --store memory: keeps nothing.\n\n", st.path, usersPath)
	default:
		note += fmt.Sprintf("  Sessions are kept %s\n  and accounts in   %s\n"+
			"  Run it again with another --listen, and both serve the same visitors.\n\n", st.where, usersPath)
	}
	if !o.Development {
		note += "  Use Chrome, Edge or Firefox: Safari keeps no Secure cookie over http://localhost (WebKit bug 281149).\n  For Safari, and for other machines: --development.\n"
	}
	_, _ = fmt.Fprintf(w, "\n%s  Ctrl-C stops it.\n\n", note)
}

// siteURL returns the address for a browser, and a note about it. Over plain
// HTTP, browsers keep the cookie only on localhost, because it is Secure, except
// in development mode.
func siteURL(address net.Addr, development bool) (url, note string) {
	a, err := netip.ParseAddrPort(address.String())
	if err != nil {
		return "http://" + address.String(), ""
	}
	ip, port := a.Addr().Unmap(), strconv.Itoa(int(a.Port()))
	if ip.IsLoopback() && ip != netip.AddrFrom4([4]byte{127, 0, 0, 1}) && ip != netip.IPv6Loopback() {
		return "http://" + a.String(), "" // localhost is another address
	}
	if ip.IsLoopback() {
		return "http://" + net.JoinHostPort("localhost", port), ""
	}
	plain := "  Other machines reach it too, but over plain HTTP no browser there keeps the session's cookie: signing in works on localhost only.\n"
	if development {
		plain = "  Anybody in the network can read the cookies: use no real accounts.\n"
		if others := otherURLs(port); ip.IsUnspecified() && len(others) > 0 {
			plain = "  Other machines reach it at  " + strings.Join(others, "  ") + "\n" + plain
		}
	}
	if ip.IsUnspecified() {
		return "http://" + net.JoinHostPort("localhost", port), plain
	}
	return "http://" + a.String(), plain
}

// otherURLs returns the addresses at which other machines reach a server on all
// interfaces.
func otherURLs(port string) (list []string) {
	addresses, _ := net.InterfaceAddrs() // without an answer it names none
	for _, a := range addresses {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil && prefix.Addr().IsGlobalUnicast() {
			list = append(list, "http://"+net.JoinHostPort(prefix.Addr().String(), port))
		}
	}
	return list
}

// A service is a handler and where it listens.
type service struct {
	listener net.Listener
	handler  http.Handler
}

// serve answers requests to all services until the context ends. Then it calls
// ended, and waits for the requests in flight.
func serve(ctx context.Context, log *slog.Logger, ended func(), services ...service) error {
	failed := make(chan error, len(services))
	servers := make([]*http.Server, len(services))
	fresh := make([]freshConns, len(services))
	var serving sync.WaitGroup
	for i, one := range services {
		servers[i] = &http.Server{
			Handler:           one.handler,
			ReadHeaderTimeout: 10 * time.Second,
			ReadTimeout:       30 * time.Second, // for a whole request, which is small
			IdleTimeout:       2 * time.Minute,
			MaxHeaderBytes:    128 << 10, // large enough that the engine answers a browser with too many cookies
			ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
			ConnState:         fresh[i].note,
		}
		serving.Go(func() { failed <- fmt.Errorf("serve: %w", servers[i].Serve(one.listener)) })
	}
	var err error
	select {
	case err = <-failed:
	case <-ctx.Done():
	}
	ended()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	for _, one := range services {
		_ = one.listener.Close()
	}
	serving.Wait()
	for i, server := range servers {
		err = errors.Join(err, fresh[i].shutdown(ctx, server, time.Second, shutdownTimeout))
	}
	return err
}
