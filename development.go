package sojourn

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// plain returns the cookies of Options.Development: without the attribute and
// the prefixes for which browsers demand HTTPS. It returns an error for what no
// browser would accept without them.
func (c Cookie) plain() (Cookie, error) {
	switch {
	case c.SameSite == http.SameSiteNoneMode || c.Partitioned:
		return c, errors.New("sojourn: Development with Cookie.SameSite: http.SameSiteNoneMode: browsers refuse it over plain HTTP; develop an embedded site over HTTPS, without Development")
	case c.Domain != "":
		return c, fmt.Errorf("sojourn: Development with Cookie.Domain %q: browsers drop such a cookie on every other host; leave Domain empty, or develop over HTTPS, without Development", c.Domain)
	}
	c.insecure = true
	for _, name := range []*string{&c.Name, &c.Visitor} {
		for _, prefix := range []string{"__Host-", "__Secure-"} {
			if hasPrefixFold(*name, prefix) {
				*name = "dev-" + (*name)[len(prefix):]
			}
		}
	}
	return c, nil
}

// notDevelopment returns an error if a request shows that the site is in
// production: browsers reach it over HTTPS, or through a proxy that doesn't say
// that they use plain HTTP.
func notDevelopment(r *http.Request) error {
	if r.TLS != nil {
		return because("it came over TLS")
	}
	proxy, plain := "", false
	for name, values := range r.Header {
		said := strings.ToLower(strings.Join(values, ","))
		switch name {
		case "X-Forwarded-Proto", "X-Forwarded-Scheme", "X-Forwarded-Protocol", "X-Scheme", "X-Url-Scheme", "Cloudfront-Forwarded-Proto":
			for scheme := range strings.SplitSeq(said, ",") {
				if scheme = strings.TrimSpace(scheme); scheme != "http" && scheme != "ws" {
					return because(name + " doesn't say http")
				}
			}
			plain = true
		case "Forwarded": // RFC 7239
			for element := range strings.FieldsFuncSeq(said, func(c rune) bool { return c == ',' || c == ';' }) {
				key, value, _ := strings.Cut(strings.TrimSpace(element), "=")
				if strings.TrimSpace(key) != "proto" {
					continue
				}
				if value = strings.Trim(strings.TrimSpace(value), `"`); value != "http" && value != "ws" {
					return because("Forwarded doesn't say proto=http")
				}
				plain = true
			}
			proxy = name
		case "X-Forwarded-Ssl", "Front-End-Https", "X-Arr-Ssl":
			if said != "off" {
				return because(name + " is set")
			}
			proxy = name
		case "Via", "X-Real-Ip", "X-Client-Ip", "X-Cluster-Client-Ip", "True-Client-Ip", "Cf-Connecting-Ip", "Fly-Client-Ip", "X-Envoy-External-Address":
			proxy = name
		default:
			if strings.HasPrefix(name, "X-Forwarded-") || strings.HasPrefix(name, "X-Original-Forwarded-") {
				proxy = name
			}
		}
	}
	if proxy != "" && !plain {
		return because("a proxy set " + proxy + ", but no X-Forwarded-Proto: http")
	}
	return fromSecurePage(r)
}

// fromSecurePage returns an error if a page of this site sent the request, and was
// loaded over HTTPS. So it notices even a proxy that adds no headers.
func fromSecurePage(r *http.Request) error {
	same := r.Header.Get("Sec-Fetch-Site") == "same-origin"
	for _, name := range []string{"Origin", "Referer"} {
		u, err := url.Parse(r.Header.Get(name))
		if err == nil && u.Scheme == "https" && (same || strings.EqualFold(u.Host, r.Host)) {
			return because(name + " is a page of this site that came by HTTPS")
		}
	}
	return nil
}

func because(why string) error { return fmt.Errorf("%w: %s", ErrDevelopment, why) }
