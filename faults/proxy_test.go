package faults

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"

	"github.com/sojourn-go/sojourn/internal/servertest"
)

// A proxy stands between one node and one server of its store.
type proxy struct {
	*toxiproxy.Proxy
	t testing.TB
}

var toxiServer = toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())

func newProxy(t testing.TB, upstream string) *proxy {
	t.Helper()
	for try := 0; ; try++ {
		port, err := servertest.FreePort()
		if err != nil {
			t.Fatal(err)
		}
		p := &proxy{toxiproxy.NewProxy(toxiServer, "p", fmt.Sprint("127.0.0.1:", port), upstream), t}
		if err := p.Start(); err == nil {
			t.Cleanup(p.Stop)
			return p
		} else if try == 5 {
			t.Fatal(err)
		}
	}
}

// A toxic is what a proxy does to the data that it passes.
type toxic struct {
	Name       string         `json:"name"`
	Type       string         `json:"type"`
	Stream     string         `json:"stream"` // upstream: to the server
	Toxicity   float32        `json:"toxicity"`
	Attributes map[string]int `json:"attributes"`
}

func (p *proxy) add(list ...toxic) {
	p.t.Helper()
	for _, x := range list {
		if x.Toxicity == 0 {
			x.Toxicity = 1
		}
		x.Name = x.Type + x.Stream
		b, err := json.Marshal(x)
		if err == nil {
			_, err = p.Toxics.AddToxicJson(strings.NewReader(string(b)))
		}
		if err != nil {
			p.t.Error(err) // not Fatal, because each runs it on other goroutines
		}
	}
}

func (p *proxy) heal() { p.Toxics.ResetToxics(context.Background()) }

// cut closes all connections and refuses new ones until restore.
func (p *proxy) cut() { p.Stop() }

// restore accepts connections again. Meanwhile an outgoing connection of another
// test may have got the proxy's port: then it waits for the port.
func (p *proxy) restore() {
	p.t.Helper()
	err := p.Start()
	for tries := 0; errors.Is(err, syscall.EADDRINUSE) && tries < 300; tries++ {
		time.Sleep(100 * time.Millisecond)
		err = p.Start()
	}
	if err != nil {
		p.t.Error(err)
	}
}

// lead closes all connections, and sends new ones to another server.
func (p *proxy) lead(upstream string) {
	p.cut()
	p.Upstream = upstream
	p.restore()
}

type proxies []*proxy

// each calls a function for all proxies in parallel.
func (list proxies) each(f func(*proxy)) {
	var wg sync.WaitGroup
	for _, p := range list {
		wg.Go(func() { f(p) })
	}
	wg.Wait()
}

func (list proxies) add(toxics ...toxic) { list.each(func(p *proxy) { p.add(toxics...) }) }
func (list proxies) heal()               { list.each((*proxy).heal) }

// The faults of a connection.
var (
	slow = []toxic{
		{Type: "latency", Stream: "upstream", Attributes: map[string]int{"latency": 30, "jitter": 25}},
		{Type: "latency", Stream: "downstream", Attributes: map[string]int{"latency": 30, "jitter": 25}},
	}
	// Changes arrive later than the node may trust its memory.
	sluggish = []toxic{{Type: "latency", Stream: "downstream", Attributes: map[string]int{"latency": 1300, "jitter": 100}}}
	// Nothing arrives, and each side believes that the connection is good.
	halfOpen = []toxic{
		{Type: "timeout", Stream: "upstream", Attributes: map[string]int{"timeout": 0}},
		{Type: "timeout", Stream: "downstream", Attributes: map[string]int{"timeout": 0}},
	}
	// Commands arrive and answers do not, or the other way round.
	noAnswers  = halfOpen[1:]
	noRequests = halfOpen[:1]
	// Connections break in the middle of an answer or a command, soon after
	// they were made.
	resets = []toxic{
		{Type: "limit_data", Stream: "upstream", Toxicity: 0.6, Attributes: map[string]int{"bytes": 9000}},
		{Type: "limit_data", Stream: "downstream", Toxicity: 0.6, Attributes: map[string]int{"bytes": 7000}},
		{Type: "reset_peer", Stream: "downstream", Toxicity: 0.2, Attributes: map[string]int{"timeout": 20}},
	}
)
