//go:build unix

package main

import (
	"context"
	"net/http/httptest"
	"net/netip"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/sojournd/internal/api"
	"github.com/sojourn-go/sojourn/sojournd/internal/forwardauth"
	"github.com/sojourn-go/sojourn/store/memstore"
)

type nodePorts struct{ checks string }

func (n *nodeShop) startServer() nodePorts {
	key, _ := api.NewKey()
	n.key = key
	proxies := []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	e, err := sojourn.New(memstore.New(), sojourn.Options{App: "shop", TrustedProxies: proxies, Cookie: sojourn.Cookie{Name: "__Host-shop-session", Visitor: "__Host-shop-visitor"}})
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { e.Close(context.Background()) })
	a, err := api.New(api.Options{})
	if err != nil {
		n.t.Fatal(err)
	}
	a.Set([]api.App{{Name: "shop", Sessions: e, Keys: []api.Key{{Name: "k", Hash: api.HashKey(key)}}}})
	as := httptest.NewServer(a)
	f, err := forwardauth.New(forwardauth.Options{Apps: []forwardauth.App{{Name: "shop", Sessions: e, LoginURL: "/login", RelaysCookies: true}}, TrustedProxies: proxies})
	if err != nil {
		n.t.Fatal(err)
	}
	fs := httptest.NewServer(f)
	n.api = as.URL
	n.stop = func() { as.CloseClientConnections(); as.Close(); fs.CloseClientConnections(); fs.Close() }
	return nodePorts{checks: fs.Listener.Addr().String()}
}

func (n *nodeShop) stopServer() { n.stop() }
