package app

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"sync/atomic"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/sojournd/internal/api"
	"github.com/sojourn-go/sojourn/sojournd/internal/config"
	"github.com/sojourn-go/sojourn/sojournd/internal/console"
	"github.com/sojourn-go/sojourn/sojournd/internal/forwardauth"
)

// A generation belongs to one version of the configuration: an engine for each
// application, the handler of the proxies' checks, and the pages for browsers. It
// is closed after it was replaced and its last request has ended.
type generation struct {
	engines map[string]*engine
	check   *forwardauth.Handler
	sites   map[string]*site // of the applications that have pages

	users   atomic.Int64 // requests in flight
	retired atomic.Bool
	drained chan struct{}
	once    sync.Once
}

// An engine belongs to one or more generations: a reload keeps it if its
// options have not changed.
type engine struct {
	*sojourn.Engine
	options sojourn.Options
}

// engineOf returns the generation's engine with these options, or nil.
func (g *generation) engineOf(options sojourn.Options) *engine {
	if g == nil || g.engines[options.App] == nil || !reflect.DeepEqual(g.engines[options.App].options, options) {
		return nil
	}
	return g.engines[options.App]
}

// acquire returns the current generation for a request. The request must
// release it.
func (s *server) acquire() *generation {
	for {
		g := s.current.Load()
		g.users.Add(1)
		if s.current.Load() == g {
			return g
		}
		g.release() // it was replaced in the meantime, and may be closed
	}
}

func (g *generation) release() {
	if g.users.Add(-1) == 0 && g.retired.Load() {
		g.once.Do(func() { close(g.drained) })
	}
}

// apply applies the configuration, or returns an error and changes nothing. It
// logs the settings that need a restart.
func (s *server) apply(c *config.Config) (err error) {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	hubApps, err := eventApps(c)
	if err != nil {
		return err
	}
	old := s.current.Load()
	next := &generation{engines: map[string]*engine{}, sites: map[string]*site{}, drained: make(chan struct{})}
	var made []*engine
	defer func() {
		if err != nil {
			for _, e := range made {
				err = errors.Join(err, closeSessions(context.Background(), e.Engine))
			}
		}
	}()
	engineOf := func(options sojourn.Options, complete func(*sojourn.Options)) (*engine, error) {
		e := old.engineOf(options)
		if e == nil {
			observed, publish := options, s.hub.Observer(options.App)
			observed.OnEvent = func(e sojourn.Event) { publish(e); s.metrics.count(e) }
			complete(&observed)
			sessions, err := sojourn.New(s.metrics.store(), observed)
			if err != nil {
				return nil, fmt.Errorf("application %s: %w", options.App, err)
			}
			e = &engine{sessions, options}
			made = append(made, e)
		}
		next.engines[options.App] = e
		return e, nil
	}
	var apps []api.App
	var shown []console.Application
	checks := forwardauth.Options{TrustedProxies: c.Proxies(), Observe: s.metrics.check, Log: s.log}
	for i := range c.Applications {
		a := &c.Applications[i]
		options := a.Options(c.Proxies())
		if options.Sealed, err = sealing(&a.Sealed); err != nil {
			return fmt.Errorf("application %s: the sealing keys: %w", a.Name, err)
		}
		e, err := engineOf(options, func(o *sojourn.Options) {
			o.Adopt, o.Sealed = api.Adoption(), withFunctions(o.Sealed, s.metrics.opened(o.App))
		})
		if err != nil {
			return err
		}
		shown = append(shown, console.Application{Name: a.Name, Sessions: e.Engine, MaxSessions: int(a.MaxSessions), VisitorsSealed: a.Sealed.For == "visitors"})
		app := api.App{Name: a.Name, Sessions: e.Engine, VisitorsSealed: a.Sealed.For == "visitors"}
		for _, k := range a.Keys {
			app.Keys = append(app.Keys, api.Key{Name: k.Name, Hash: k.Hash})
		}
		apps = append(apps, app)
		if a.Pages.Path != "" {
			if next.sites[a.Name], err = newSite(e.Engine, a, s.metrics.page); err != nil {
				return fmt.Errorf("application %s: %w", a.Name, err)
			}
		}
		checks.Apps = append(checks.Apps, forwardauth.App{
			Name: a.Name, Sessions: e.Engine, LoginURL: a.LoginURL, ReturnParam: a.ReturnParam, StepUpURL: a.StepUpURL, WaitingURL: a.BoundPath(),
			ReturnOrigins: a.ReturnOrigins, RelaysCookies: a.RelaysCookies, PassiveHeader: a.PassiveHeader, Headers: a.Headers,
		})
	}
	var operated *engine
	if s.console != nil {
		if operated, err = engineOf(c.Console.Options(c.Proxies()), func(o *sojourn.Options) { o.OnError = console.AnswerError }); err != nil {
			return err
		}
	}
	if next.check, err = forwardauth.New(checks); err != nil {
		return err
	}
	if err := s.hub.Configure(hubApps); err != nil {
		return err
	}
	names := make([]string, len(c.Applications))
	for i := range c.Applications {
		names[i] = c.Applications[i].Name
		s.metrics.begin(names[i])
	}
	if s.metrics.history != nil {
		s.metrics.history.Configure(names)
	}
	s.level.Set(levelOf(c))
	s.api.Set(apps) // before replace: a request may use engines of a later generation, which outlive it, but not of an earlier one
	if s.console != nil {
		s.console.Set(console.Setup{Sessions: operated.Engine, Operators: operatorsOf(&c.Console), Apps: shown})
	}
	s.replace(next)
	s.sayRestart(c)
	s.config = c
	return nil
}

// replace makes next the current generation. The old one is closed after its
// requests have ended, and after all earlier generations, because it may share
// engines with them.
func (s *server) replace(next *generation) {
	old := s.current.Load()
	if next != nil {
		s.current.Store(next)
	}
	if old == nil {
		return
	}
	before, closed := s.closed, make(chan struct{})
	s.closed = closed
	old.retired.Store(true)
	if old.users.Load() == 0 {
		old.once.Do(func() { close(old.drained) })
	}
	go func() {
		defer close(closed)
		<-before
		<-old.drained
		for name, e := range old.engines {
			if next != nil && next.engines[name] == e {
				continue
			}
			if err := closeSessions(context.Background(), e.Engine); err != nil {
				s.log.Error("close the engine of an application", "app", name, "err", err)
			}
		}
	}()
}

// engines returns the engines of the current generation, for metrics.
func (s *server) engines() map[string]*sojourn.Engine {
	g := s.current.Load()
	if g == nil {
		return nil
	}
	list := make(map[string]*sojourn.Engine, len(g.engines))
	for name, e := range g.engines {
		list[name] = e.Engine
	}
	return list
}

// sayRestart logs the settings that have changed but need a restart.
func (s *server) sayRestart(c *config.Config) {
	if s.config == nil {
		return
	}
	was := s.config
	for _, one := range []struct {
		name    string
		was, is any
	}{
		{"store", was.Store, c.Store},
		{"log.format", was.Log.Format, c.Log.Format},
		{"api", was.API, c.API}, {"internal", was.Internal, c.Internal}, {"console", was.Console.Front, c.Console.Front},
		{"limits", was.Limits, c.Limits}, {"events.audit", was.Events.Audit, c.Events.Audit},
	} {
		if !reflect.DeepEqual(one.was, one.is) {
			s.log.Warn("a changed setting takes effect after a restart", "setting", one.name)
		}
	}
}
