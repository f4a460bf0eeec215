package redisstore

import (
	"context"
	"net"
	"sync/atomic"
	"testing"

	"github.com/sojourn-go/sojourn/internal/servertest"
	"github.com/sojourn-go/sojourn/store"
)

// Options.Dial makes every connection, those of the feed too. TLS runs on top
// of it if the URL says so.
func TestDial(t *testing.T) {
	for _, opt := range []servertest.RedisOptions{{}, {TLS: true}} {
		r := servertest.Redis(t, opt)
		var dials atomic.Int32
		o := Options{Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if _, ok := ctx.Deadline(); !ok || addr != "localhost:1" {
				t.Errorf("asked for %s, with a deadline: %v", addr, ok)
			}
			dials.Add(1)
			return new(net.Dialer).DialContext(ctx, network, r.Addr())
		}}
		url := "redis://localhost:1"
		if opt.TLS {
			o.TLSConfig = r.Certificates.Config()
			o.TLSConfig.ServerName = "" // it is the URL's
			url = "rediss://localhost:1"
		}
		s := openAt(t, url, o)
		changes, err := s.Watch(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Beat(t.Context(), 7); err != nil {
			t.Fatal(err)
		}
		for c := range changes {
			if c.Kind == store.Beat {
				break
			}
		}
		if dials.Load() < 2 {
			t.Errorf("%d connections were made by Dial", dials.Load())
		}
	}
}
