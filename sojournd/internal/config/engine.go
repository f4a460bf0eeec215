package config

import (
	"net/http"
	"net/netip"
	"time"

	"github.com/sojourn-go/sojourn"
)

var presets = map[string]func() sojourn.Policy{
	"default": sojourn.DefaultPolicy, "aal1": sojourn.AAL1, "aal2": sojourn.AAL2, "aal3": sojourn.AAL3,
}

// Options returns the application's options for its engine.
func (a *Application) Options(proxies []netip.Prefix) sojourn.Options {
	p := presets[a.Policy.Preset]()
	p.Anonymous = a.Policy.Anonymous.over(p.Anonymous)
	p.Login = a.Policy.Login.over(p.Login)
	p.Remembered = a.Policy.Remembered.over(p.Remembered)
	p.RotateEvery = a.Policy.RotateEvery.over(p.RotateEvery)
	p.Grace = a.Policy.Grace.over(p.Grace)
	return sojourn.Options{
		App:    a.Name,
		Policy: p,
		Bound:  a.binding(),
		Cookie: sojourn.Cookie{
			Name: a.Cookie.Name, Visitor: a.Cookie.Visitor, Domain: a.Cookie.Domain,
			SameSite: sameSites[a.Cookie.SameSite], Partitioned: a.Cookie.Partitioned,
			UntilBrowserCloses: a.Cookie.UntilBrowserCloses,
		},
		MaxSessions: int(a.MaxSessions), RefuseOverLimit: a.OverLimit == "refuse",
		MaxValue: int(a.MaxValue), MaxSession: int(a.MaxSession), MaxDepth: a.MaxDepth,
		MaxBadTokens:   int(a.MaxBadTokens),
		TrustedProxies: proxies,
		Origins:        a.Origins,
		ClearSiteData:  a.ClearSiteData,
		Development:    a.Development,
	}
}

// binding returns the engine's option, or nil if no session is bound.
func (a *Application) binding() *sojourn.Binding {
	b := a.Bound
	if b == nil {
		return nil
	}
	return &sojourn.Binding{
		Path: a.BoundPath(), ProofLife: time.Duration(b.ProofLife), Grace: time.Duration(b.Grace), RequireLevel: b.RequireLevel, Script: b.Script,
	}
}

// Options returns the options for the engine of the console's own sessions: the
// limits of NIST's AAL2, and cookies that browsers drop when they close.
func (c *Console) Options(proxies []netip.Prefix) sojourn.Options {
	return sojourn.Options{
		App: ConsoleApp, Policy: sojourn.AAL2(), TrustedProxies: proxies,
		Cookie: sojourn.Cookie{Name: ConsoleCookie, Visitor: ConsoleVisitorCookie, UntilBrowserCloses: true},
	}
}

var sameSites = map[string]http.SameSite{"lax": http.SameSiteLaxMode, "strict": http.SameSiteStrictMode, "none": http.SameSiteNoneMode}

// over returns base with the limits that l sets. An idle limit from base is at
// most the absolute limit.
func (l Lifetime) over(base sojourn.Lifetime) sojourn.Lifetime {
	absolute := l.Absolute.over(base.Absolute)
	return sojourn.Lifetime{Idle: l.Idle.over(min(base.Idle, absolute)), Absolute: absolute}
}

func (d Duration) over(base time.Duration) time.Duration {
	if d == 0 {
		return base
	}
	return time.Duration(d)
}
