package shop

import (
	"embed"
	"html/template"
	"net/http"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/sojournd/internal/password"
	"github.com/sojourn-go/sojourn/sojournd/internal/webui"
)

//go:embed templates/*.html
var templateFiles embed.FS

var pageTemplates = webui.Templates(templateFiles, template.FuncMap{"static": static.Path})

// view is the data of a template: the visit's methods, and the page's own data.
type view struct {
	*visit
	Page string
	Data any
}

func (v *view) Lang() string      { return v.lang }
func (v *view) Theme() string     { return v.shown().Theme }
func (v *view) Themes() []string  { return themes }
func (v *view) Langs() []string   { return languageOrder }
func (v *view) Email() string     { return v.user.Email }
func (v *view) SignedIn() bool    { return v.user.ID != "" }
func (v *view) MinPassword() int  { return password.MinLength }
func (v *view) MaxPassword() int  { return password.MaxLength }
func (v *view) FreshMinutes() int { return int(freshness.Minutes()) }

// Unspoken reports whether the browser asks for other languages.
func (v *view) Unspoken() bool { return v.other }

// LanguageName is the name of a language in that language.
func (v *view) LanguageName(lang string) string { return languages[lang]["language.name"] }

// Here is the page to return to: this one, or the page of the form that was
// sent.
func (v *view) Here() string {
	if v.r.Method == http.MethodGet || v.r.Method == http.MethodHead {
		return sojourn.LocalPath(v.r.URL.RequestURI(), "/")
	}
	if next := v.r.PostForm.Get("next"); next != "" {
		return sojourn.LocalPath(next, "/account")
	}
	switch v.r.URL.Path {
	case "/cart", "/account/email":
		return v.r.URL.Path
	case "/reauth":
		return "/account"
	}
	return "/"
}
