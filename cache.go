package sojourn

import (
	"net/http"
	"strings"

	"github.com/sojourn-go/sojourn/store"
)

// cacheable reports whether the handler lets caches store the response. A new
// cookie would forbid that.
func cacheable(h http.Header, now store.Time) bool {
	var yes, no bool // what Cache-Control says
	for name, lines := range h {
		switch {
		case strings.EqualFold(name, "Cache-Control"):
			y, n := storable(lines)
			yes, no = yes || y, no || n
		case strings.EqualFold(name, "X-Accel-Expires"):
			if strings.Trim(strings.Join(lines, ""), "0") != "" {
				return true
			}
		case targeted(name): // a cache for which it is meant obeys it before Cache-Control
			if yes, _ := storable(lines); yes {
				return true
			}
		}
	}
	if expires := h.Get("Expires"); expires != "" && !yes && !no {
		until, err := http.ParseTime(expires)
		return err == nil && store.TimeOf(until) > now
	}
	return yes && !no
}

// storable reports whether Cache-Control, or a field like it, lets a response
// be stored, and whether it forbids that.
func storable(lines []string) (yes, no bool) {
	for _, line := range lines {
		for directive := range strings.SplitSeq(line, ",") {
			name, value, _ := strings.Cut(strings.ToLower(strings.TrimSpace(directive)), "=")
			switch name {
			case "no-store", "no-cache":
				return false, true
			case "public", "immutable":
				yes = true
			case "max-age", "s-maxage":
				age := strings.Trim(value, `"`)
				yes = yes || strings.Trim(age, "0") != "" && !strings.HasPrefix(age, "-")
			}
		}
	}
	return yes, false
}

// targeted reports whether a field is meant for some caches only, and is read
// like Cache-Control: CDN-Cache-Control and those of single CDNs (RFC 9213),
// Surrogate-Control, Edge-Control.
func targeted(name string) bool {
	const suffix = "-Cache-Control"
	return len(name) >= len(suffix) && strings.EqualFold(name[len(name)-len(suffix):], suffix) ||
		strings.EqualFold(name, "Surrogate-Control") || strings.EqualFold(name, "Edge-Control")
}

// forbidStorage keeps a response that holds a secret out of every cache:
// no-store is the only directive that is left. Handlers may have written names
// in any case.
func forbidStorage(h http.Header) {
	for name := range h {
		if targeted(name) || strings.EqualFold(name, "Cache-Control") || strings.EqualFold(name, "Expires") || strings.EqualFold(name, "X-Accel-Expires") {
			delete(h, name)
		}
	}
	h["Cache-Control"] = []string{"no-store"}
}

// varies reports whether Vary names the cookie already.
func varies(h http.Header) bool {
	for _, line := range h["Vary"] {
		for name := range strings.SplitSeq(line, ",") {
			if name = strings.TrimSpace(name); name == "*" || strings.EqualFold(name, "Cookie") {
				return true
			}
		}
	}
	return false
}
