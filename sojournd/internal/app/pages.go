package app

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/internal/signin"
	"github.com/sojourn-go/sojourn/mirror"
	"github.com/sojourn-go/sojourn/pages"
	"github.com/sojourn-go/sojourn/sojournd/internal/config"
	"github.com/sojourn-go/sojourn/sojournd/internal/useragent"
	"github.com/sojourn-go/sojourn/store/memstore"
)

// A site is an application's pages for browsers. At /pages/{app}/ it answers what
// browsers ask at the path.
type site struct {
	path    string
	origins []string // to which a sign-in page elsewhere may lead back
	pages   http.Handler
	observe func(app, page string, status int, took time.Duration)
}

func newSite(sessions *sojourn.Engine, a *config.Application, observe func(app, page string, status int, took time.Duration)) (*site, error) {
	options := pagesOptions(a)
	if len(a.Mirror) > 0 {
		var err error
		if options.Mirror, err = mirror.New(sessions, mirrorKeys(a)...); err != nil {
			return nil, err
		}
	}
	handler, err := pages.New(sessions, options)
	if err != nil {
		return nil, err
	}
	return &site{path: a.Pages.Path, origins: a.ReturnOrigins, pages: handler, observe: observe}, nil
}

func pagesOptions(a *config.Application) pages.Options {
	o := pages.Options{
		Path: a.Pages.Path, Home: a.Pages.Home, Site: a.Pages.Site, Stylesheet: a.Pages.Stylesheet, Texts: a.Pages.Texts,
		Require: sojourn.Requirement{Fresh: a.Pages.Fresh.Duration(), SignIn: a.LoginURL, StepUp: a.StepUpURL, ReturnParam: a.ReturnParam},
		Device:  useragent.Name,
	}
	if language := a.Pages.Language; language != "" {
		o.Language = func(*http.Request) string { return language }
	}
	return o
}

func mirrorKeys(a *config.Application) []mirror.Key {
	keys := make([]mirror.Key, len(a.Mirror))
	for i, k := range a.Mirror {
		keys[i] = mirror.Key{Name: k.Name, Attribute: k.Attribute, Values: k.Values, Personal: k.Personal}
	}
	return keys
}

// servePages answers /pages/{app}/…, as if the browser's own request had come.
// Nothing in the path leads to another part of the listener, or to another
// application's pages.
func (g *generation) servePages(w http.ResponseWriter, r *http.Request) {
	name, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/pages/"), "/")
	s := g.sites[name]
	if s == nil {
		plain(w, http.StatusNotFound, "no application of this name has pages: set pages.path in the configuration")
		return
	}
	asked := *r.URL
	asked.Path, asked.RawPath = s.path+rest, ""
	r = r.WithContext(signin.WithOrigins(r.Context(), s.origins))
	r.URL, r.RequestURI = &asked, asked.RequestURI()
	began, answer := time.Now(), &statusWriter{ResponseWriter: w, status: http.StatusOK}
	s.pages.ServeHTTP(answer, r)
	s.observe(name, rest, answer.status, time.Since(began))
}

// A statusWriter remembers the status of the answer.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	if status >= 200 { // not an informational one
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap is for http.ResponseController.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// checkPages checks the settings of pages and mirror one by one, so that each
// mistake is reported with its line.
func checkPages(c *config.Config, wrong config.Reporter) {
	sessions, err := sojourn.New(memstore.New(), sojourn.Options{App: "check"})
	if err != nil {
		wrong("", "%v", err)
		return
	}
	defer func() { _ = closeSessions(context.Background(), sessions) }()
	for i := range c.Applications {
		a, at := &c.Applications[i], fmt.Sprintf("applications[%d].pages.", i)
		try := func(setting, option string, o pages.Options) {
			if _, err := pages.New(sessions, o); err != nil {
				text := strings.TrimPrefix(err.Error(), "pages: ")
				text = strings.TrimPrefix(text, "Texts: ")
				wrong(at+setting, "%s", strings.TrimPrefix(text, option))
			}
		}
		try("path", "Path is ", pages.Options{Path: a.Pages.Path})
		try("home", "Home is ", pages.Options{Home: a.Pages.Home})
		try("stylesheet", "Stylesheet is ", pages.Options{Stylesheet: a.Pages.Stylesheet})
		for language, texts := range a.Pages.Texts {
			for name, text := range texts {
				try("texts."+language+"."+name, name+": ", pages.Options{Texts: map[string]map[string]string{language: {name: text}}})
			}
		}
		var good []mirror.Key
		for j, key := range mirrorKeys(a) {
			if _, err := mirror.New(sessions, append(good, key)...); err != nil {
				wrong(fmt.Sprintf("applications[%d].mirror[%d]", i, j), "%s", strings.TrimPrefix(err.Error(), "mirror: "))
				continue
			}
			good = append(good, key)
		}
	}
}
