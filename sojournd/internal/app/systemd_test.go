package app

import (
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sojourn-go/sojourn/sojournd/internal/config"
)

// A socket from systemd goes to the front that lists its address, however it is
// written, or whose name it has. One that other machines can reach needs TLS, or
// plain_http.
func TestSocketsGoToTheirFronts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	for _, c := range []struct {
		network, address string
		name             string
		internal         config.Front // PORT stands for the socket's port
		want             string       // the front, or a part of the error
	}{
		{"tcp", "127.0.0.1:0", "sojournd.socket", config.Front{Listen: []config.Address{{Network: "tcp", Address: "127.0.0.1:PORT"}}}, "internal"},
		{"tcp", "127.0.0.1:0", "sojournd.socket", config.Front{Listen: []config.Address{{Network: "tcp", Address: "localhost:PORT"}}}, "internal"},
		{"tcp", "127.0.0.1:0", "sojournd.socket", config.Front{Listen: []config.Address{{Network: "tcp", Address: "127.0.0.1:1"}}}, "api.listen, internal.listen and console.listen lack"},
		{"tcp", "127.0.0.1:0", "sojournd.socket", config.Front{Listen: []config.Address{{Network: "tcp", Address: "127.0.0.2:PORT"}}}, "api.listen, internal.listen and console.listen lack"},
		{"tcp", "127.0.0.1:0", "sojournd.socket", config.Front{Listen: []config.Address{{Network: "tcp", Address: ":PORT"}}}, "api.listen, internal.listen and console.listen lack"},
		{"tcp", ":0", "sojournd.socket", config.Front{Listen: []config.Address{{Network: "tcp", Address: ":PORT"}}}, "internal"},
		{"tcp", ":0", "sojournd.socket", config.Front{Listen: []config.Address{{Network: "tcp", Address: "0.0.0.0:PORT"}}}, "internal"},
		{"unix", path, "sojournd.socket", config.Front{Listen: []config.Address{{Network: "unix", Address: path}}}, "internal"},
		{"unix", path, "api", config.Front{}, "api"},
		{"tcp", "127.0.0.1:0", "internal", config.Front{}, "internal"},
		{"tcp", "127.0.0.1:0", "api", config.Front{Listen: []config.Address{{Network: "tcp", Address: "127.0.0.1:PORT"}}}, "api"},
		{"tcp", ":0", "internal", config.Front{}, "internal.plain_http: true"},
		{"tcp", ":0", "internal", config.Front{PlainHTTP: true}, "internal"},
		{"tcp", ":0", "internal", config.Front{TLS: config.TLS{Certificate: "/c", Key: "/k"}}, "internal"},
	} {
		l, err := net.Listen(c.network, c.address)
		if err != nil {
			t.Fatal(err)
		}
		_, port, _ := net.SplitHostPort(l.Addr().String())
		for i := range c.internal.Listen {
			c.internal.Listen[i].Address = strings.Replace(c.internal.Listen[i].Address, "PORT", port, 1)
		}
		internal, api := &front{name: "internal", config: &c.internal}, &front{name: "api", config: &config.Front{}}
		err = distribute(t.Context(), []Socket{{c.name, l}}, []*front{internal, api})
		switch {
		case err != nil && strings.Contains(err.Error(), c.want):
		case err == nil && (len(internal.sockets) == 1) == (c.want == "internal") && (len(api.sockets) == 1) == (c.want == "api"):
		default:
			t.Errorf("%s named %s, with %v: %v; internal has %v, api %v; want %q", l.Addr(), c.name, c.internal.Listen, err, internal.sockets, api.sockets, c.want)
		}
		_ = l.Close()
	}
}
