package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"

	"github.com/coreos/go-systemd/v22/activation"

	"github.com/sojourn-go/sojourn/sojournd/internal/config"
)

// A Socket is a listener that was open before the server started.
type Socket struct {
	Name string // by systemd's FileDescriptorName=; by default the name of the socket's unit
	net.Listener
}

func (s Socket) address() config.Address {
	return config.Address{Network: s.Addr().Network(), Address: s.Addr().String()}
}

// Sockets returns the sockets that systemd has passed to this process
// (sd_listen_fds(3)). A second call returns none.
func Sockets() (list []Socket, err error) {
	for _, file := range activation.Files(true) {
		l, err := net.FileListener(file)
		if closed := file.Close(); err == nil {
			err = closed // l has a copy
		}
		if err != nil {
			return nil, fmt.Errorf("systemd passes the socket %s, on which nothing can listen: name it with ListenStream= in sojournd.socket: %w", file.Name(), err)
		}
		list = append(list, Socket{file.Name(), l})
	}
	return list, nil
}

// take gives the front a socket to listen on, if its name or its address is one of
// the front's, and reports whether that is so.
func (f *front) take(ctx context.Context, s Socket) (bool, error) {
	a := s.address()
	isListed := slices.ContainsFunc(f.config.Listen, func(other config.Address) bool { return sameAddress(ctx, a, other) })
	switch {
	case isListed:
	case s.Name != f.name:
		return false, nil
	case !a.Loopback() && f.config.TLS.Certificate == "" && !f.config.PlainHTTP:
		return true, fmt.Errorf("systemd passes %s, which other machines can reach: set %s.tls, or, in a network that you trust, %[2]s.plain_http: true", a, f.name)
	}
	f.sockets = append(f.sockets, s)
	return true, nil
}

// hasSocket reports whether the front was given a socket with the address.
func (f *front) hasSocket(ctx context.Context, a config.Address) bool {
	return slices.ContainsFunc(f.sockets, func(s Socket) bool { return sameAddress(ctx, s.address(), a) })
}

// sameAddress reports whether a socket has the address of a setting. The setting
// may name a host.
func sameAddress(ctx context.Context, socket, setting config.Address) bool {
	if socket == setting || socket.Network != setting.Network || socket.Network == "unix" {
		return socket == setting
	}
	host, port, err := net.SplitHostPort(setting.Address)
	have, havePort, _ := net.SplitHostPort(socket.Address)
	if err != nil || port != havePort {
		return false
	}
	if ip := net.ParseIP(have); host == "" {
		return ip.IsUnspecified()
	} else if other := net.ParseIP(host); other != nil {
		return other.Equal(ip) || other.IsUnspecified() && ip.IsUnspecified() // [::] is 0.0.0.0, too
	}
	addresses, _ := net.DefaultResolver.LookupHost(ctx, host)
	return slices.Contains(addresses, have)
}

// distribute gives each front its sockets.
func distribute(ctx context.Context, sockets []Socket, fronts []*front) error {
	var errs []error
	for _, s := range sockets {
		taken, err := false, error(nil)
		isNamed := slices.ContainsFunc(fronts, func(f *front) bool { return f.name == s.Name })
		for _, f := range fronts {
			if isNamed && f.name != s.Name {
				continue
			}
			if taken, err = f.take(ctx, s); taken {
				break
			}
		}
		if !taken {
			err = fmt.Errorf("systemd passes %s, which api.listen, internal.listen and console.listen lack: name it there, or take it out of sojournd.socket", s.Addr())
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
