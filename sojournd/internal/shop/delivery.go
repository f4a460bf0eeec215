package shop

import (
	"bytes"
	"embed"
	"html/template"
	"net/http"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/mirror"
)

// The values that the mirror keeps in the browser, so that a page of a CDN has them
// at its first paint. Those of users are in Users, which every page of the shop
// reads.
var (
	themeKey    = sojourn.NewKey[string]("theme")
	languageKey = sojourn.NewKey[string]("language")
)

func (sh *Shop) newMirror() (*mirror.Mirror, error) {
	m, err := mirror.New(sh.Sessions,
		mirror.Public(themeKey, mirror.Key{Attribute: "data-theme", Values: themes}),
		mirror.Public(languageKey, mirror.Key{Attribute: "data-language", Values: languageOrder}))
	if err != nil {
		return nil, err
	}
	return m.KeepIn(sh.Users), nil
}

// Mirror is the element of the mirror's script.
func (v *view) Mirror() (template.HTML, error) {
	if v.shop.mirror == nil || v.unreadable {
		return "", nil
	}
	return v.shop.mirror.Tag("/session/", v.session)
}

//go:embed cdn/delivery.html
var cdnFiles embed.FS

// A spoken is a text of a page that has all languages.
type spoken struct{ Lang string }

func (s spoken) T(key string) string { return languages[s.Lang][key] }

// deliveryPage makes a page as a CDN would serve it: the same for everybody, and
// with no session to ask.
func deliveryPage(m *mirror.Mirror) (http.HandlerFunc, error) {
	page, err := template.New("delivery.html").Funcs(template.FuncMap{
		"static": static.Path,
		"themes": func() []string { return themes },
		"texts": func() (all []spoken) {
			for _, lang := range languageOrder {
				all = append(all, spoken{lang})
			}
			return all
		},
	}).ParseFS(cdnFiles, "cdn/delivery.html")
	if err != nil {
		return nil, err
	}
	tag, err := m.Tag("/session/", nil)
	if err != nil {
		return nil, err
	}
	var content bytes.Buffer
	if err := page.Execute(&content, tag); err != nil {
		return nil, err
	}
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Cache-Control", "public, max-age=300")
		_, _ = w.Write(content.Bytes())
	}, nil
}
