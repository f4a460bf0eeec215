// Package peer says who is at the other end of a request's connection, and
// whether that is a reverse proxy whose headers are believed. The engine, the
// API and forward-auth ask it, so that they never judge one request differently.
package peer

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// A Peer is the other end of a connection. The zero Peer has no address that
// can be read, and is never trusted.
type Peer struct {
	IP   netip.Addr // zero over a Unix socket
	Unix bool       // connected through a Unix socket, which its permissions guard
}

// Of returns the peer of r. It takes RemoteAddr with a port, as net/http sets
// it, and without, as "real IP" middlewares leave it. Over a Unix socket
// RemoteAddr is a name that the peer chose, so Of ignores it.
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

// Trusted reports whether the peer is one of these reverse proxies. If any is
// named, every peer on a Unix socket is trusted: the socket's permissions
// decide who may connect.
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

// plain makes addresses that are one address equal.
func plain(ip netip.Addr) netip.Addr { return ip.Unmap().WithZone("") }

func isPort(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}
