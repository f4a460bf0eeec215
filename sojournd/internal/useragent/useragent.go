// Package useragent names browsers for people, by the User-Agent headers that
// they send: "Firefox on Linux".
package useragent

import (
	"regexp"
	"sync"

	medama "github.com/medama-io/go-useragent"
	"github.com/medama-io/go-useragent/agents"
)

// A Browser is what a User-Agent header says of its sender. Nothing in it is
// proven. The zero Browser is an unknown one.
type Browser struct {
	Name   string // such as "Firefox", or an application's own name; at most 40 bytes of printable ASCII
	System string // such as "Linux"
	Mobile bool   // a phone or a tablet
}

// String returns "Firefox on Linux", or what is known of it.
func (b Browser) String() string {
	switch {
	case b.Name == "":
		return b.System
	case b.System == "":
		return b.Name
	}
	return b.Name + " on " + b.System
}

// Name returns the name of the browser that sends a User-Agent header, in
// English. It is empty if the header tells nothing.
func Name(userAgent string) string { return Of(userAgent).String() }

// Of returns the browser that sends a User-Agent header. Only the header's first
// 255 bytes count. Of is safe for concurrent use; the first call takes up to 50
// ms, because it loads the parser's table (5 MB).
func Of(userAgent string) Browser {
	if len(userAgent) > maxLength {
		userAgent = userAgent[:maxLength]
	}
	cache.RLock()
	b, ok := cache.of[userAgent]
	cache.RUnlock()
	if ok {
		return b
	}
	b = parse(userAgent)
	cache.Lock()
	defer cache.Unlock()
	if cache.of == nil || len(cache.of) >= maxCached {
		cache.of = make(map[string]Browser)
	}
	cache.of[userAgent] = b
	return b
}

const (
	maxLength = 255 // the engine keeps no more
	maxCached = 4096
)

// cache has the browsers that were asked for, because lists name the same few
// again and again.
var cache struct {
	sync.RWMutex
	of map[string]Browser
}

var parser = sync.OnceValue(medama.NewParser)

func parse(userAgent string) Browser {
	agent := parser().Parse(userAgent)
	b := Browser{Name: agent.Browser().String(), System: agent.OS().String(), Mobile: agent.IsMobile() || agent.IsTablet()}
	if agent.OS() == agents.OSMacOS {
		b.System = "macOS"
	}
	if b.Name == "" {
		if m := product.FindStringSubmatch(userAgent); m != nil && m[1] != "Mozilla" {
			b.Name = m[1]
		}
	}
	return b
}

// product matches the first product of a User-Agent header (RFC 9110, section
// 10.1.5), by which programs other than browsers tell their names, or the first
// in the comment where crawlers tell theirs.
var product = regexp.MustCompile(`^(?:Mozilla/5\.0 \(compatible; )?([A-Za-z][A-Za-z0-9._-]{0,39})(?:[/; )]|$)`)
