package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/sojourn-go/sojourn/sojournd/internal/config"
)

// A front is a set of listeners with one handler.
type front struct {
	name        string // of its settings: api, internal or console
	config      *config.Front
	server      *http.Server
	certificate atomic.Pointer[tls.Certificate]
	sockets     []Socket // from systemd
	fresh       freshConns
	serving     sync.WaitGroup // for each listener

	mu        sync.Mutex // guards listeners and closed
	listeners []net.Listener
	closed    bool
}

func newFront(name string, c *config.Front, limits *config.Limits, handler http.Handler, log *slog.Logger) *front {
	f := &front{name: name, config: c}
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	f.server = &http.Server{
		Handler:           handler,
		Protocols:         &protocols,
		ReadHeaderTimeout: limits.ReadHeaderTimeout.Duration(),
		ReadTimeout:       limits.ReadTimeout.Duration(),
		WriteTimeout:      limits.WriteTimeout.Duration(),
		IdleTimeout:       limits.IdleTimeout.Duration(),
		MaxHeaderBytes:    int(limits.Header),
		ErrorLog:          slog.NewLogLogger(log.With("listener", name).Handler(), slog.LevelWarn),
		ConnState:         f.fresh.note,
	}
	return f
}

// open opens the listeners and serves, unless they are open. Those that systemd
// has opened are taken over. The certificate must be loaded.
func (f *front) open(ctx context.Context, failed chan<- error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.listeners) > 0 || f.closed {
		return nil
	}
	for _, s := range f.sockets {
		f.listeners = append(f.listeners, f.secure(s.Listener))
	}
	for i, a := range f.config.Listen {
		if f.hasSocket(ctx, a) {
			continue
		}
		l, err := f.listen(ctx, a)
		if err != nil {
			for _, l := range f.listeners {
				_ = l.Close()
			}
			f.listeners = nil
			return fmt.Errorf("%s.listen[%d]: %w", f.name, i, err)
		}
		f.listeners = append(f.listeners, l)
	}
	for _, l := range f.listeners {
		f.serving.Go(func() {
			err := f.server.Serve(l)
			if errors.Is(err, net.ErrClosed) { // by shutdown
				return
			}
			select {
			case failed <- fmt.Errorf("%s: serve: %w", f.name, err):
			default: // another error was sent first
			}
		})
	}
	return nil
}

// listen opens one listener. Its errors say what to do.
func (f *front) listen(ctx context.Context, a config.Address) (net.Listener, error) {
	if a.Network == "unix" {
		return f.listenUnix(ctx, a.Address)
	}
	l, err := listenTCP(ctx, a.Address)
	if err != nil {
		return nil, err
	}
	return f.secure(l), nil
}

// secure adds TLS to a TCP listener, if the front has a certificate.
func (f *front) secure(l net.Listener) net.Listener {
	if l.Addr().Network() == "unix" || f.config.TLS.Certificate == "" {
		return l
	}
	return tls.NewListener(l, &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return f.certificate.Load(), nil
		},
	})
}

// listenTCP opens a listener. Its errors say what to do.
func listenTCP(ctx context.Context, address string) (net.Listener, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	var dns *net.DNSError
	switch {
	case err == nil:
		return l, nil
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("%s: another program listens there: stop it, or take another port", address)
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("%s: not allowed; ports below 1024 are for root: take a higher one", address)
	case errors.Is(err, syscall.EADDRNOTAVAIL), errors.As(err, &dns):
		return nil, fmt.Errorf("%s is no address of this machine", address)
	}
	return nil, fmt.Errorf("%s: %w", address, err)
}

// listenUnix replaces a socket that nobody listens on.
func (f *front) listenUnix(ctx context.Context, path string) (net.Listener, error) {
	if info, err := os.Lstat(path); err == nil {
		if info.Mode()&fs.ModeSocket == 0 {
			return nil, fmt.Errorf("%s exists and is not a socket: take another path", path)
		}
		dialer := net.Dialer{Timeout: time.Second}
		if c, err := dialer.DialContext(ctx, "unix", path); err == nil {
			_ = c.Close()
			return nil, fmt.Errorf("%s: another program listens there: stop it, or take another path", path)
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("remove the socket that was left behind: %w", err)
		}
	}
	l, err := new(net.ListenConfig).Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: the directory must exist, and the server's user must be allowed to write to it", path, err)
	}
	if err := os.Chmod(path, fs.FileMode(f.config.SocketMode)); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), l.Close())
	}
	return l, nil
}

// loadCertificates reads the certificates of all fronts. The function that it
// returns puts them into use.
func loadCertificates(c *config.Config, fronts []*front) (use func(), err error) {
	settings := map[string]config.TLS{"api": c.API.TLS, "internal": c.Internal.TLS, "console": c.Console.TLS}
	certs := make([]*tls.Certificate, len(fronts))
	var errs []error
	for i, f := range fronts {
		t := settings[f.name]
		if t != f.config.TLS || t.Certificate == "" {
			continue // other files need a restart
		}
		var err error
		if certs[i], err = loadCertificate(t); err != nil {
			errs = append(errs, fmt.Errorf("%s.tls: %w", f.name, err))
		}
	}
	return func() {
		for i, f := range fronts {
			if certs[i] != nil {
				f.certificate.Store(certs[i])
			}
		}
	}, errors.Join(errs...)
}

func loadCertificate(t config.TLS) (*tls.Certificate, error) {
	cert, err := tls.LoadX509KeyPair(t.Certificate, t.Key)
	if err != nil {
		return nil, fmt.Errorf("the certificate %s with the key %s: %w", t.Certificate, t.Key, err)
	}
	return &cert, nil
}

// shutdown accepts no more connections, and waits for the requests on the accepted
// ones. Later connections to a socket of systemd wait for the next process.
func (f *front) shutdown(ctx context.Context, patience time.Duration) error {
	f.closeListeners()
	f.serving.Wait()
	if err := f.fresh.shutdown(ctx, f.server, min(patience/2, 5*time.Second), patience); err != nil {
		return fmt.Errorf("%s: %w", f.name, err)
	}
	return nil
}

func (f *front) closeListeners() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	for _, l := range f.listeners {
		_ = l.Close()
	}
}

// urls returns the addresses that are open.
func (f *front) urls() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	scheme := "http://"
	if f.config.TLS.Certificate != "" {
		scheme = "https://"
	}
	var list []string
	for _, l := range f.listeners {
		if l.Addr().Network() == "unix" {
			list = append(list, "unix:"+l.Addr().String())
		} else {
			list = append(list, scheme+l.Addr().String())
		}
	}
	return list
}

// forBrowsers returns the addresses as an operator can open them. Over plain HTTP
// browsers keep the console's cookie on localhost only, and nobody can open the
// address of all interfaces.
func forBrowsers(urls []string) (list []string) {
	for _, url := range urls {
		scheme, rest, _ := strings.Cut(url, "://")
		if at, err := netip.ParseAddrPort(rest); err == nil && scheme == "http" {
			url, _ = siteURL(net.TCPAddrFromAddrPort(at), false)
		} else if name, noName := os.Hostname(); err == nil && noName == nil && at.Addr().IsUnspecified() {
			url = "https://" + net.JoinHostPort(name, strconv.Itoa(int(at.Port())))
		}
		list = append(list, url)
	}
	return list
}
