package faults

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/url"
	"os/exec"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn/internal/servertest"
)

// A turnstile stands behind a proxy and counts the connections through it.
type turnstile struct {
	net.Listener
	upstream string
	count    atomic.Int64
}

// countConnections counts the connections through a proxy.
func countConnections(t testing.TB, p *proxy) *turnstile {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &turnstile{Listener: l, upstream: p.Upstream}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			s.count.Add(1)
			go s.pass(conn)
		}
	}()
	p.lead(l.Addr().String())
	return s
}

func (s *turnstile) pass(conn net.Conn) {
	defer conn.Close()
	server, err := net.Dial("tcp", s.upstream)
	if err != nil {
		return
	}
	defer server.Close()
	go func() {
		_, _ = io.Copy(server, conn)
		server.Close()
	}()
	_, _ = io.Copy(conn, server)
}

// saturate keeps the machine's processors busy until the test ends.
func saturate(t testing.TB, loops int) {
	t.Helper()
	for range loops {
		cmd := exec.Command("sh", "-c", "while :; do :; done")
		if err := servertest.Spawn(cmd); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		})
	}
}

// The machine is busy and the load is more than the store can serve. Then all
// connections are cut for a while. The load stays, and the nodes must serve
// again: they may make only a few connections each second, and must use them.
func TestStormOnBusyMachine(t *testing.T) {
	everywhere(t, func(s *site) { s.storm(func() { saturate(s, 6) }) }, poolers[0])
}

// The same, with a store that answers after four fifths of a timeout.
func TestStormOfLatency(t *testing.T) {
	everywhere(t, func(s *site) {
		slow := int(nodeTimeout.Milliseconds()) * 4 / 5
		s.storm(func() {
			s.all().add(toxic{Type: "latency", Stream: "downstream", Attributes: map[string]int{"latency": slow}})
		})
	}, poolers[0])
}

func (s *site) storm(burden func()) {
	s.Helper()
	const (
		visitors = 24 // for each node; each always has a request under way
		perNode  = 10 // new connections a second

		// A quiet machine takes ten seconds at most. Other tests may run beside
		// this one. A storm that feeds itself does not end while the load
		// stays.
		patience = 2 * time.Minute
	)
	var browsers []*browser
	for i := range visitors * nodeCount {
		browsers = append(browsers, s.login(i%nodeCount, fmt.Sprint("visitor ", i)))
	}
	var turnstiles []*turnstile
	for _, p := range s.all() {
		turnstiles = append(turnstiles, countConnections(s, p))
	}
	connections := func() (n int64) {
		for _, x := range turnstiles {
			n += x.count.Load()
		}
		return n
	}
	s.resumes()
	burden()

	var served atomic.Int64
	var errs sync.Map
	stop := make(chan struct{})
	var running sync.WaitGroup
	over := sync.OnceFunc(func() {
		close(stop)
		running.Wait()
	})
	s.Cleanup(over)
	for i, b := range browsers {
		rnd := rand.New(rand.NewPCG(s.seed, uint64(i)))
		running.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				var re reply
				if c := s.clients[i%nodeCount]; rnd.IntN(3) == 0 {
					re = c.do(context.Background(), "POST", "/shop/add", url.Values{"n": {"1"}}, b.token)
				} else {
					re = c.do(context.Background(), "GET", "/shop/check", url.Values{"strict": {"1"}}, b.token)
				}
				if re.out == done {
					served.Add(1)
				} else {
					n, _ := errs.LoadOrStore(re.text, new(atomic.Int64))
					n.(*atomic.Int64).Add(1)
					pause(rnd, 20*time.Millisecond, 60*time.Millisecond)
				}
			}
		})
	}
	const window = 4 * time.Second
	rate := func() float64 {
		before := served.Load()
		time.Sleep(window)
		r := float64(served.Load()-before) / window.Seconds()
		s.Logf("%.1f/s", r)
		return r
	}
	var before float64
	for began := time.Now(); ; {
		last := before
		if before = rate(); before > 0 && before < last*5/4 || time.Since(began) > time.Minute {
			break // it has settled
		}
	}
	s.all().each((*proxy).cut)
	time.Sleep(3 * time.Second)
	made, began := connections(), time.Now()
	s.all().each((*proxy).restore)
	var after float64
	for after < before/2 && time.Since(began) < patience {
		after = max(after, rate())
	}
	took := time.Since(began)
	perSecond := float64(connections()-made) / took.Seconds() / nodeCount
	s.Logf("%.0f requests a second before the cut, %.0f within %v after it, with %.1f new connections of each node a second", before, after, took.Round(time.Second), perSecond)
	if before == 0 {
		s.Error("nothing was served before the cut, so the case says nothing")
	}
	if after < before/2 {
		s.Errorf("%.0f requests a second are served, before the cut %.0f", after, before)
	}
	if perSecond > perNode {
		s.Errorf("each node makes %.1f connections a second, want at most %d", perSecond, perNode)
	}
	over()
	errs.Range(func(k, v any) bool { s.Logf("%d × %s", v.(*atomic.Int64).Load(), k); return true })
	s.all().heal()
	s.report(nil)
}
