// Package webui has what the pages of the shop and of the console share: their
// templates and static files, the headers that restrict them, and the check of
// forms.
package webui

import (
	"crypto/sha256"
	"encoding/hex"
	"html/template"
	"io/fs"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"
)

// Templates returns the pages in the directory "templates" of files, by name
// without ".html". Each is base.html with a "title" and a "main" of its own. It
// panics if a template is wrong: they are part of the program.
func Templates(files fs.FS, functions template.FuncMap) map[string]*template.Template {
	base := template.Must(template.New("base.html").Funcs(functions).ParseFS(files, "templates/base.html"))
	entries, err := fs.ReadDir(files, "templates")
	if err != nil {
		panic(err)
	}
	pages := map[string]*template.Template{}
	for _, e := range entries {
		if name := strings.TrimSuffix(e.Name(), ".html"); name != "base" {
			page := template.Must(base.Clone())
			pages[name] = template.Must(page.ParseFS(files, "templates/"+e.Name()))
		}
	}
	return pages
}

// Static serves the files of a directory "static" below /static/. The path of a
// file has the hash of its content, so browsers may cache it for ever.
type Static struct {
	files fs.FS
	paths map[string]string // by name
}

// NewStatic returns the static files of files. It panics if they can't be read:
// they are part of the program.
func NewStatic(files fs.FS) *Static {
	s := &Static{files, map[string]string{}}
	entries, err := fs.ReadDir(files, "static")
	if err != nil {
		panic(err)
	}
	for _, e := range entries {
		content, err := fs.ReadFile(files, "static/"+e.Name())
		if err != nil {
			panic(err)
		}
		sum := sha256.Sum256(content)
		s.paths[e.Name()] = "/static/" + hex.EncodeToString(sum[:6]) + "/" + e.Name()
	}
	return s
}

// Path returns the path of a file, or "" if there is no such file.
func (s *Static) Path(name string) string { return s.paths[name] }

// ServeHTTP answers 404 unless the path is that of a file as it is now.
func (s *Static) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
	if s.paths[name] == "" || s.paths[name] != r.URL.Path {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	http.ServeFileFS(w, r, s.files, "static/"+name)
}

// Restrict sets the headers that restrict a page: only files of its own site,
// nothing inline, no frames.
func Restrict(h http.Header) {
	h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "+
		"form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
}

// ValidForm reports whether every value of a form is UTF-8 without NUL.
func ValidForm(form url.Values) bool {
	for _, values := range form {
		for _, value := range values {
			if !utf8.ValidString(value) || strings.ContainsRune(value, 0) {
				return false
			}
		}
	}
	return true
}
