package console

import (
	"embed"
	"fmt"
	"html/template"
	"strings"
	"time"
	"unicode"

	"github.com/sojourn-go/sojourn/sojournd/internal/webui"
)

//go:embed templates/*.html
var templateFiles embed.FS

var pages = webui.Templates(templateFiles, template.FuncMap{
	"static": static.Path, "plain": plain, "short": short, "lines": lines, "bytes": bytesOf,
})

// view is the data of a template: the visit's methods, and the page's own data.
type view struct {
	*visit
	Page string
	Data any
}

// Operator is the name of who is signed in, or empty.
func (v *visit) Operator() string {
	if v.operator == nil {
		return ""
	}
	return v.operator.Name
}

// App is the name of the application that the page is about, or empty.
func (v *visit) App() string {
	if v.app == nil {
		return ""
	}
	return v.app.Name
}

// VisitorsSealed reports whether the application keeps visitors' sessions in their
// cookies.
func (v *visit) VisitorsSealed() bool { return v.app != nil && v.app.VisitorsSealed }

// Here is the address to come back to.
func (v *visit) Here() string { return v.r.URL.RequestURI() }

func (v *visit) now() time.Time { return v.Now().UTC() }

// When is a time for people: how long ago, or how long until then. A zero time
// is empty.
func (v *visit) When(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	switch d := v.now().Sub(t); {
	case d >= 0 && d < 10*time.Second:
		return "just now"
	case d >= 0:
		return length(d) + " ago"
	default:
		return "in " + length(-d)
	}
}

// length is a duration in its largest unit.
func length(d time.Duration) string {
	for _, unit := range []struct {
		d    time.Duration
		name string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "min"}} {
		if n := (d + unit.d/60) / unit.d; n >= 1 { // 59 minutes are an hour
			return fmt.Sprintf("%d %s", n, unit.name)
		}
	}
	return fmt.Sprintf("%d s", max(d/time.Second, 1))
}

// A moment is a time for the template "when".
type moment struct{ When, Exact, Machine string }

// Time returns a time for the template "when". A zero time shows nothing.
func (v *visit) Time(t time.Time) *moment {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &moment{v.When(t), t.Format("2006-01-02 15:04:05 UTC"), t.Format(time.RFC3339)}
}

// plain returns text that came from outside as one line that shows what it is.
// What is invisible, or changes the direction of the text, is spelled out.
func plain(text string) string { return spell(text, "") }

// lines is plain for text of several lines.
func lines(text string) string { return spell(text, "\n\t") }

func spell(text, allowed string) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	hidden := func(r rune) bool {
		return !strings.ContainsRune(allowed, r) && (r < ' ' || r > '~') && unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Co)
	}
	if !strings.ContainsFunc(text, hidden) {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		if hidden(r) {
			fmt.Fprintf(&b, "⟨U+%04X⟩", r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// short is plain, cut off after so many characters.
func short(text string, most int) string {
	n := 0
	for i := range text {
		if n++; n > most {
			return plain(text[:i]) + "…"
		}
	}
	return plain(text)
}

func bytesOf(n int) string {
	if n < 1024 {
		return fmt.Sprintf("%d bytes", n)
	}
	return fmt.Sprintf("%.1f KiB", float64(n)/1024)
}

//go:embed static
var staticFiles embed.FS

var static = webui.NewStatic(staticFiles)

// Method is the request's method.
func (v *visit) Method() string { return v.r.Method }
