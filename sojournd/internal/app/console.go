package app

import (
	"log/slog"
	"net/http"

	"github.com/sojourn-go/sojourn/sojournd/internal/config"
	"github.com/sojourn-go/sojourn/sojournd/internal/console"
	"github.com/sojourn-go/sojourn/sojournd/internal/events"
	"github.com/sojourn-go/sojourn/sojournd/internal/history"
	"github.com/sojourn-go/sojourn/sojournd/internal/password"
)

// newConsole returns the console. Its operators' actions go to the hub's audit
// log, and to the log.
func newConsole(hub *events.Hub, figures *history.Recorder, log *slog.Logger, passwords *password.Hasher, once, onceAs string) *console.Console {
	return console.New(console.Options{
		Passwords: passwords, Events: hub, History: figures, Log: log, Once: once, OnceAs: onceAs,
		Audit: func(o console.Operation) {
			hub.Audit(events.Operation{Operator: o.Operator, App: o.App, Action: o.Action, Target: o.Target, Reason: o.Reason, Result: o.Result, IP: o.IP})
			log.Info("an operator used the console", "operator", o.Operator, "app", o.App, "action", o.Action,
				"target", o.Target, "reason", o.Reason, "result", o.Result, "ip", o.IP)
		},
	})
}

// operatorsOf returns the operators of the configuration.
func operatorsOf(c *config.Console) []console.Operator {
	list := make([]console.Operator, len(c.Operators))
	for i, o := range c.Operators {
		list[i] = console.Operator{Name: o.Name, Hash: string(o.Hash), Roles: map[string]console.Role{}}
		for app, role := range o.Roles {
			list[i].Roles[app] = map[config.Role]console.Role{config.RoleLook: console.Look, config.RoleEnd: console.End}[role]
		}
	}
	return list
}

// serveConsole answers requests of the console's listeners.
func (s *server) serveConsole(w http.ResponseWriter, r *http.Request) {
	g := s.acquire()
	defer g.release()
	s.console.ServeHTTP(w, r)
}
