// Package peer finds out who sent a request, and whether the sender is a
// trusted reverse proxy. The engine, the API and forward-auth share it, so they
// always agree.
package peer

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// A Peer is the other end of a connection. The zero Peer has no valid address
// and is never trusted.
type Peer struct {
	IP   netip.Addr // zero over a Unix socket
	Unix bool       // connected through a Unix socket
}

// Of returns the peer of r. RemoteAddr may have a port, as net/http sets it, or
// none, as "real IP" middlewares set it. Over a Unix socket the peer chooses
// RemoteAddr, so Of ignores it.
func Of(r *http.Request) Peer {
	if local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok && local != nil && strings.HasPrefix(local.Network(), "unix") {
		return Peer{Unix: true}
	}
	host := r.RemoteAddr
	colon := strings.LastIndexByte(host, ':')
	if colon > 0 && isPort(host[colon+1:]) && (host[colon-1] == ']' || strings.IndexByte(host, ':') == colon) {
		host = host[:colon]
	}
	if len(host) > 2 && host[0] == '[' && host[len(host)-1] == ']' {
		host = host[1 : len(host)-1]
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return Peer{}
	}
	return Peer{IP: plain(ip)}
}

// Trusted reports whether the peer is one of these reverse proxies. If there
// are any, every peer on a Unix socket is trusted, because the socket's
// permissions decide who may connect.
func (p Peer) Trusted(proxies []netip.Prefix) bool {
	if p.Unix {
		return len(proxies) > 0
	}
	for _, prefix := range proxies {
		if prefix.Contains(p.IP) {
			return true
		}
	}
	return false
}

// plain returns the same value for all forms of an address.
func plain(ip netip.Addr) netip.Addr { return ip.Unmap().WithZone("") }

func isPort(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}
