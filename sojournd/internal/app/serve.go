package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/sojourn-go/sojourn/sojournd/internal/api"
	"github.com/sojourn-go/sojourn/sojournd/internal/config"
	"github.com/sojourn-go/sojourn/sojournd/internal/console"
	"github.com/sojourn-go/sojourn/sojournd/internal/events"
	"github.com/sojourn-go/sojourn/sojournd/internal/password"
)

// ServeOptions are the options of the server, and of config check.
type ServeOptions struct {
	Config  string            // path of the file
	Environ []string          // in the form of os.Environ
	Flags   map[string]string // settings from the command line, by their path in the file
	Reload  <-chan os.Signal  // each signal reloads the file; nil: never
	Sockets []Socket          // listeners from systemd; those of the configuration that are not among them are opened
	Out     io.Writer         // gets messages for people
	Log     io.Writer         // gets the log
	Version string
}

// A server is the session server.
type server struct {
	opt     ServeOptions
	level   *slog.LevelVar
	log     *slog.Logger
	store   *openedStore
	metrics *metrics
	hub     *events.Hub
	api     *api.API
	console *console.Console // nil: off
	fronts  []*front         // api, internal and console

	reloading sync.Mutex     // held by apply; guards config
	config    *config.Config // as last applied
	current   atomic.Pointer[generation]
	closed    chan struct{} // closed with the last generation that was replaced
	stopping  atomic.Bool
}

// RunServe runs the session server until the context ends. Then it waits for
// the requests in flight and returns nil.
func RunServe(ctx context.Context, o ServeOptions) (err error) {
	c, err := load(o)
	if err != nil {
		return err
	}
	defer ballast()()
	level := new(slog.LevelVar)
	level.Set(levelOf(c))
	log := newLog(o.Log, c.Log.Format, level)
	for _, name := range config.Environment(o.Environ).Unknown(knownVariables...) {
		log.Warn("this environment variable is no setting", "variable", name, "instead", config.MeantVariable(name))
	}

	warn(log, c)
	st, err := openFreeStore(ctx, StoreOptions(c.Store), c.Limits.ShutdownTimeout.Duration()+shutdownTimeout, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	audit, err := openAudit(c.Events.Audit)
	if err != nil {
		return err
	}
	if audit != nil {
		defer func() { err = errors.Join(err, audit.Close()) }()
	}
	s := &server{opt: o, level: level, log: log, store: st}
	if err := s.build(c, audit); err != nil {
		return err
	}
	if err := s.apply(c); err != nil {
		return errors.Join(err, s.closeAll(ctx))
	}
	defer func() { err = errors.Join(err, s.closeAll(ctx)) }()

	s.fronts = []*front{
		newFront("api", &c.API, &c.Limits, http.HandlerFunc(s.serveAPI), s.log),
		newFront("internal", &c.Internal, &c.Limits, http.HandlerFunc(s.serveInternal), s.log),
		newFront("console", &c.Console.Front, &c.Limits, http.HandlerFunc(s.serveConsole), s.log),
	}
	use, err := loadCertificates(c, s.fronts)
	if err != nil {
		return err
	}
	use()
	if err := distribute(ctx, o.Sockets, s.fronts); err != nil {
		return err
	}
	if s.metrics.history != nil {
		defer s.metrics.history.Start(ctx)()
	}
	failed := make(chan error, 1)
	defer func() { err = errors.Join(err, s.shutdown(ctx)) }()
	if err := s.open(ctx, c, failed); err != nil {
		return err
	}
	s.greet(c)
	s.tell("READY=1")
	for {
		select {
		case err := <-failed:
			return err
		case <-o.Reload:
			s.reload(ctx, failed)
		case <-ctx.Done():
			return nil
		}
	}
}

// build creates the parts that a reload does not change. The audit log may be
// nil.
func (s *server) build(c *config.Config, audit io.Writer) (err error) {
	s.closed = make(chan struct{})
	close(s.closed)
	s.metrics = newMetrics(s.store, s.engines)
	s.hub = events.New(events.Options{Log: s.log, Audit: audit})
	s.metrics.registry.MustRegister(s.hub)
	s.api, err = api.New(api.Options{
		MaxBody: int64(c.Limits.Body), Events: s.hub, Audit: s.hub.Operated,
		Observe: s.metrics.request, Log: s.log, Version: s.opt.Version,
	})
	hasSocket := slices.ContainsFunc(s.opt.Sockets, func(one Socket) bool { return one.Name == "console" })
	if err != nil || len(c.Console.Listen) == 0 && !hasSocket {
		return err
	}
	passwords, err := password.New(password.Cost{})
	if err != nil {
		return err
	}
	s.metrics.history = newHistory(s.store, s.engines)
	s.console = newConsole(s.hub, s.metrics.history, s.log, passwords, "", "")
	return nil
}

// knownVariables begin with SOJOURN_ but are not settings.
var knownVariables = []string{"SOJOURN_CONFIG", "SOJOURN_KEY", "SOJOURN_KEY_FILE", "SOJOURN_SERVER", config.StorePasswordVariable}

func load(o ServeOptions) (*config.Config, error) {
	if o.Config == "" {
		return nil, UsageError{errors.New("no configuration is named: sojournd config example > sojourn.yaml prints one to start from; then add --config sojourn.yaml, or set $SOJOURN_CONFIG")}
	}
	c, err := config.Load(o.Config, o.Environ, o.Flags, checkParts)
	var mistakes *config.Problems
	if errors.Is(err, config.ErrNoFile) || errors.As(err, &mistakes) && mistakes.OnCommandLine() {
		return nil, UsageError{err}
	}
	return c, err
}

func warn(log *slog.Logger, c *config.Config) {
	for _, warning := range c.Warnings() {
		log.Warn("the configuration may be wrong: " + warning)
	}
}

func newLog(w io.Writer, format string, level slog.Leveler) *slog.Logger {
	if format == "json" {
		return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level}))
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level}))
}

// open opens the listeners. The API's listeners stay closed until there is a
// key. Those of systemd are open already, and without an answer connections
// would wait for ever.
func (s *server) open(ctx context.Context, c *config.Config, failed chan<- error) error {
	for _, f := range s.fronts {
		if f.name == "api" && !c.HasKeys() && len(f.sockets) == 0 {
			continue
		}
		if err := f.open(ctx, failed); err != nil {
			return err
		}
	}
	return nil
}

// reload applies the file as it is now. If it has a mistake, nothing changes.
func (s *server) reload(ctx context.Context, failed chan<- error) {
	c, err := load(s.opt)
	use := func() {}
	if err == nil {
		use, err = loadCertificates(c, s.fronts)
	}
	if err == nil {
		err = s.apply(c)
	}
	var mistakes *config.Problems
	switch {
	case errors.As(err, &mistakes):
		for _, one := range mistakes.List {
			s.log.Error("a mistake in the configuration", "at", one.String())
		}
		s.log.Error("the configuration was not reloaded; nothing changes", "mistakes", len(mistakes.List))
		return
	case err != nil:
		s.log.Error("the configuration was not reloaded; nothing changes", "err", err)
		return
	}
	use()
	warn(s.log, c)
	if err := s.open(ctx, c, failed); err != nil {
		s.log.Error("the listener was not opened", "err", err)
	}
	s.log.Info("the configuration was reloaded", "file", s.opt.Config, "applications", len(c.Applications))
}

// serveAPI answers requests of the API's listeners.
func (s *server) serveAPI(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/v1/events" { // may last for days, and uses no engine
		s.api.ServeHTTP(w, r)
		return
	}
	g := s.acquire()
	defer g.release()
	s.api.ServeHTTP(w, r)
}

// serveInternal answers requests of the internal listeners. It is not an
// http.ServeMux, which would redirect checks whose paths are not clean.
func (s *server) serveInternal(w http.ResponseWriter, r *http.Request) {
	switch path := r.URL.Path; {
	case strings.HasPrefix(path, "/check/"):
		g := s.acquire()
		defer g.release()
		g.check.ServeHTTP(w, r)
	case strings.HasPrefix(path, "/pages/"):
		g := s.acquire()
		defer g.release()
		g.servePages(w, r)
	case path == "/healthz":
		plain(w, http.StatusOK, "ok")
	case path == "/readyz":
		s.ready(w, r)
	case path == "/metrics":
		s.metrics.handler.ServeHTTP(w, r)
	default:
		plain(w, http.StatusNotFound, "not found: here are /check, /pages, /metrics, /healthz and /readyz")
	}
}

func plain(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text+"\n")
}

// readyTimeout is shorter than the usual timeout of a probe.
const readyTimeout = 900 * time.Millisecond

// ready reports whether the server can answer requests: the store must answer.
// Warnings of the store follow, one on each line.
func (s *server) ready(w http.ResponseWriter, r *http.Request) {
	if s.stopping.Load() {
		plain(w, http.StatusServiceUnavailable, "shutting down")
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), readyTimeout)
	defer cancel()
	if err := s.metrics.ping(ctx); err != nil {
		s.log.Warn("not ready: the store doesn't answer", "err", err)
		plain(w, http.StatusServiceUnavailable, "the store doesn't answer")
		return
	}
	lines := []string{"ready"}
	if s.store.warnings != nil {
		for _, w := range s.store.warnings() {
			lines = append(lines, w.Text)
		}
	}
	plain(w, http.StatusOK, strings.Join(lines, "\n"))
}

// shutdown refuses new requests and waits for those in flight.
func (s *server) shutdown(ctx context.Context) error {
	s.stopping.Store(true)
	s.tell("STOPPING=1")
	s.hub.EndStreams() // they would delay the shutdown for ever
	patience := s.limits().ShutdownTimeout.Duration()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	errs := make([]error, len(s.fronts))
	var wg sync.WaitGroup
	for i, f := range s.fronts {
		wg.Go(func() { errs[i] = f.shutdown(ctx, patience) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (s *server) limits() *config.Limits {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	return &s.config.Limits
}

// closeAll closes the engines, and then the hub, which gets their last events.
func (s *server) closeAll(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	s.replace(nil)
	var errs []error
	select {
	case <-s.closed:
	case <-ctx.Done():
		errs = append(errs, fmt.Errorf("the engines did not close within %v", shutdownTimeout))
	}
	s.hub.Close(ctx)
	return errors.Join(errs...)
}

func (s *server) tell(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		s.log.Warn("tell systemd", "state", state, "err", err)
	}
}

// greet prints the addresses of the server.
func (s *server) greet(c *config.Config) {
	lines := map[string]string{}
	for _, f := range s.fronts {
		urls := f.urls()
		if f.name == "console" {
			urls = forBrowsers(urls)
		}
		lines[f.name] = strings.Join(urls, ", ")
	}
	if !c.HasKeys() && lines["api"] == "" {
		lines["api"] = "none, because no application has a key: sojournd keys new makes one"
	}
	operators := ""
	if lines["console"] != "" {
		operators = "    console    " + lines["console"] + "\n"
		if len(c.Console.Operators) == 0 {
			operators += "               nobody can sign in there: sojournd operators add makes an account\n"
		}
	}
	_, _ = fmt.Fprintf(s.opt.Out, "\n  sojournd serves %s.\n\n    API        %s\n    internal   %s   (/check, /pages, /metrics, /healthz, /readyz)\n%s\n"+
		"  Sessions are kept %s.\n  Ctrl-C stops it; SIGHUP makes it read %s again.\n\n",
		applications(c), cmp.Or(lines["api"], "none"), cmp.Or(lines["internal"], "none"), operators, s.store.where, s.opt.Config)
}

// applications names the first five applications.
func applications(c *config.Config) string {
	var names []string
	for i := range c.Applications {
		if i == 5 {
			names = append(names, "…")
			break
		}
		names = append(names, c.Applications[i].Name)
	}
	word := "the applications"
	if len(c.Applications) == 1 {
		word = "the application"
	}
	return word + " " + strings.Join(names, ", ")
}
