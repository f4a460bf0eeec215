package sojourn

import (
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/sojourn-go/sojourn/internal/peer"
	"github.com/sojourn-go/sojourn/internal/signin"
)

// A site is what an engine knows of the web site that it serves.
type site struct {
	cookie     Cookie
	forms      []string // of Cookie.forms
	protection *http.CrossOriginProtection
	trusted    []string     // by Options.TrustedOrigins
	waiting    *signin.Page // where browsers prove their sessions; nil: Options.Bound is
	own        []string     // public origins; none: compare with Host
	proxies    []netip.Prefix
	warnPlain  sync.Once
}

func newSite(opt Options) (*site, error) {
	s := &site{cookie: opt.Cookie, forms: opt.Cookie.forms(), proxies: opt.TrustedProxies, protection: http.NewCrossOriginProtection()}
	if opt.Bound != nil {
		s.cookie.proof = s.cookie.Name + "-bound-"
		var err error
		if s.waiting, err = signin.NewPage(opt.Bound.Path, "return_to"); err != nil {
			return nil, fmt.Errorf("sojourn: Bound.Path %w", err)
		}
	}
	for _, text := range opt.Origins {
		origin, err := parseOrigin(text)
		if err == nil && !strings.HasPrefix(origin, "https://") && !strings.HasPrefix(origin, "http://") {
			err = fmt.Errorf("%q is no web site's: write https://shop.example.com", text)
		}
		if err != nil {
			return nil, fmt.Errorf("sojourn: Origins: %w", err)
		}
		if opt.Development && strings.HasPrefix(origin, "https://") {
			return nil, fmt.Errorf("sojourn: Development with Origins %q: a site that is served over HTTPS isn't being developed: leave out one of them", text)
		}
		s.own = append(s.own, origin)
	}
	for _, text := range opt.TrustedOrigins {
		origin, err := parseOrigin(text)
		if err == nil {
			err = s.protection.AddTrustedOrigin(origin)
		}
		if err != nil {
			return nil, fmt.Errorf("sojourn: TrustedOrigins: %w", err)
		}
		s.trusted = append(s.trusted, origin)
	}
	return s, nil
}

// parseOrigin returns an origin as browsers write it (RFC 6454, section 6.2): in
// lower case, without the scheme's usual port.
func parseOrigin(text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme == "" || u.Host == "" || u.User != nil || u.Path != "" || strings.ContainsAny(text, "?#*") {
		return "", fmt.Errorf("%q is no origin: write scheme, host and, if it isn't the usual one, port: https://shop.example.com", text)
	}
	if i := strings.IndexFunc(u.Host, func(r rune) bool { return r >= utf8.RuneSelf }); i >= 0 {
		return "", fmt.Errorf("%q: write the host as browsers send it, in ASCII (xn--…)", text)
	}
	host := strings.ToLower(u.Host)
	switch u.Scheme { // which Parse has in lower case
	case "https":
		host = strings.TrimSuffix(host, ":443")
	case "http":
		host = strings.TrimSuffix(host, ":80")
	}
	return u.Scheme + "://" + host, nil
}

// crossOrigin returns an error for an unsafe request from another origin's page.
// The handshake of a WebSocket is a GET, which the protection lets pass, so it is
// checked as if it were a POST.
func (s *site) crossOrigin(r *http.Request) error {
	switch r.Method {
	case http.MethodGet:
		if len(r.Header["Upgrade"]) == 0 {
			return nil
		}
		r = r.WithContext(r.Context())
		r.Method = http.MethodPost
	case http.MethodHead, http.MethodOptions:
		return nil
	}
	if from := r.Header["Sec-Fetch-Site"]; len(from) > 0 && (from[0] == "same-origin" || from[0] == "none") {
		return nil // as Check decides too, but it takes longer
	}
	origin, told := r.Header.Get("Origin"), r.Header.Get("Sec-Fetch-Site") != ""
	host := r.Host
	if origin != "" && !told && (len(s.own) > 0 || host == "") {
		if slices.Contains(s.own, origin) {
			return nil
		}
		r = r.WithContext(r.Context())
		r.Host = "\x00" // no origin has this host; the origin "null" has an empty one
	}
	err := s.protection.Check(r)
	switch {
	case err == nil:
		return nil
	case told:
		return fmt.Errorf("%w: %w", ErrCrossOrigin, err)
	case len(s.own) > 0:
		return fmt.Errorf("%w: Origin %q is in neither Options.Origins nor TrustedOrigins", errOrigin, origin)
	default:
		return fmt.Errorf("%w: Origin %q is not of the Host %q: behind a proxy that replaces Host, name the site's public origins in Options.Origins", errOrigin, origin, host)
	}
}

const maxForwarded = 32 // addresses of X-Forwarded-For that are looked at

// client returns who sent the request.
func (s *site) client(r *http.Request) Client {
	c := Client{IP: s.clientIP(r)}
	if ua := r.Header["User-Agent"]; len(ua) > 0 {
		c.UserAgent = cleanUserAgent(ua[0])
	}
	return c
}

// clientIP returns the address of the connection. If that is a trusted proxy,
// it returns the last address in X-Forwarded-For that isn't one, because
// anybody could have written what stands left of it. It is zero if no trusted
// source tells an address.
func (s *site) clientIP(r *http.Request) netip.Addr {
	from := peer.Of(r)
	ip := from.IP
	if !from.Trusted(s.proxies) {
		return ip
	}
	lines := r.Header["X-Forwarded-For"]
	seen := 0
	for i := len(lines) - 1; i >= 0; i-- {
		line := lines[i]
		for more := true; more && seen < maxForwarded; seen++ {
			var last string
			if comma := strings.LastIndexByte(line, ','); comma >= 0 {
				line, last = line[:comma], line[comma+1:]
			} else {
				line, last, more = "", line, false
			}
			next, err := parseForwarded(strings.TrimSpace(last))
			if err != nil {
				return ip
			}
			ip = next
			if !(peer.Peer{IP: ip}).Trusted(s.proxies) {
				return ip
			}
		}
	}
	return ip
}

// parseForwarded reads an address as proxies write it, with or without a port.
func parseForwarded(text string) (netip.Addr, error) {
	if ip, err := netip.ParseAddr(text); err == nil {
		return ip.Unmap().WithZone(""), nil
	}
	withPort, err := netip.ParseAddrPort(text)
	return withPort.Addr().Unmap().WithZone(""), err
}

// warnPlainHTTP says once why a browser will drop the cookie.
func (s *site) warnPlainHTTP(r *http.Request) {
	if r.TLS != nil || s.cookie.insecure || loopback(r.Host) {
		return
	}
	if peer.Of(r).Trusted(s.proxies) || r.RemoteAddr == httptestPeer {
		return // the proxy answers for it; or no browser sent it
	}
	s.warnPlain.Do(func() {
		slog.Warn("sojourn: a session cookie was set in answer to plain HTTP; browsers drop Secure cookies there, except from localhost. "+
			"Serve HTTPS, or, if a proxy in front does, name it in Options.TrustedProxies", "host", r.Host)
	})
}

// httptestPeer is the peer of requests from httptest.NewRequest. Addresses of
// this network are for documentation only (RFC 5737).
const httptestPeer = "192.0.2.1:1234"

func loopback(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = hostport
	}
	host = strings.Trim(host, "[]")
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}
