package faults

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn/internal/servertest"
)

const nodeCount = 3

// TestMain may run a node instead of the tests.
func TestMain(m *testing.M) {
	text := os.Getenv(nodeEnv)
	if text == "" {
		// The tests mostly wait: by default more of them run in parallel than
		// there are processors.
		if flag.Parse(); flag.Lookup("test.parallel").Value.String() == flag.Lookup("test.parallel").DefValue {
			_ = flag.Set("test.parallel", "6")
		}
		os.Exit(m.Run())
	}
	var config nodeConfig
	err := json.Unmarshal([]byte(text), &config)
	if err == nil {
		err = runNode(config)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// soak reports whether SOJOURN_SOAK is set.
func soak() bool { return os.Getenv("SOJOURN_SOAK") != "" }

// A process runs a node.
type process struct {
	cmd    *exec.Cmd
	stdin  io.Closer
	stderr *tail
	base   string
}

func startNode(t testing.TB, config nodeConfig) *process {
	t.Helper()
	b, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	p := &process{cmd: exec.Command(os.Args[0]), stderr: new(tail)}
	p.cmd.Env = append(os.Environ(), nodeEnv+"="+string(b), "GORACE=halt_on_error=1")
	p.cmd.Stderr = p.stderr
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := servertest.Spawn(p.cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.stdin.Close()
		if err := p.cmd.Wait(); err != nil {
			t.Errorf("a node ended with %v:\n%s", err, p.stderr)
		} else if t.Failed() {
			t.Logf("a node said:\n%s", p.stderr)
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("a node doesn't start: %v\n%s", err, p.stderr)
	}
	p.base = "http://" + strings.TrimSpace(line)
	return p
}

func (p *process) signal(t testing.TB, s os.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// A tail keeps the end of what is written to it.
type tail struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (w *tail) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.b.Len() > 64<<10 {
		w.b.Next(w.b.Len() - 32<<10)
	}
	return w.b.Write(b)
}

func (w *tail) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.String()
}

// A site is three nodes with their proxies and clients.
type site struct {
	*testing.T
	h       *history
	clients []*client
	rnd     *rand.Rand // for the test's own choices
	seed    uint64

	processes []*process
	commands  [nodeCount]proxies // between a node and its store, except its feed
	feeds     [nodeCount]proxies
	pooler    *servertest.PgBouncerServer // stands before the proxies; nil: none does

	stop    func()        // stops the clients and waits for them
	over    chan struct{} // closed by stop
	running sync.WaitGroup
}

// all returns the proxies of some nodes, or of all.
func (s *site) all(nodes ...int) (list proxies) {
	for i := range nodeCount {
		if len(nodes) == 0 || i == nodes[0] {
			list = append(append(list, s.commands[i]...), s.feeds[i]...)
		}
	}
	return list
}

func newSite(t *testing.T) *site {
	seed := rand.Uint64()
	if text := os.Getenv("SOJOURN_SEED"); text != "" {
		n, err := strconv.ParseUint(text, 0, 64)
		if err != nil {
			t.Fatalf("SOJOURN_SEED: %v", err)
		}
		seed = n
	}
	t.Logf("SOJOURN_SEED=%d", seed)
	return &site{T: t, h: &history{began: time.Now()}, seed: seed, rnd: rand.New(rand.NewPCG(seed, 0)), over: make(chan struct{})}
}

// addNode starts a node. config says how it reaches the store.
func (s *site) addNode(config nodeConfig) {
	s.Helper()
	p := startNode(s, config)
	s.processes = append(s.processes, p)
	s.clients = append(s.clients, newClient(s.h, len(s.clients), p.base))
}

// serve starts the clients. They stop before the test ends, even if it fails:
// otherwise they would disturb the tests beside it.
func (s *site) serve() {
	s.stop = sync.OnceFunc(func() {
		close(s.over)
		s.running.Wait()
	})
	s.Cleanup(s.stop)
	const groups = 12
	for i := range groups {
		rnd := rand.New(rand.NewPCG(s.seed, uint64(i+1)))
		s.running.Go(func() { s.visit(rnd, i) })
	}
	for _, app := range []string{"crowd", "queue"} {
		rnd := rand.New(rand.NewPCG(s.seed, uint64(len(app)+100)))
		s.running.Go(func() { s.press(rnd, app) })
	}
}

func (s *site) stopped() bool {
	select {
	case <-s.over:
		return true
	default:
		return false
	}
}

func pick[T any](rnd *rand.Rand, list []T) T { return list[rnd.IntN(len(list))] }

func pause(rnd *rand.Rand, from, to time.Duration) { time.Sleep(from + rand.N(to-from)) }

// visit creates one session after another. It uses each through all nodes at
// the same time, while it lives and for a while after.
func (s *site) visit(rnd *rand.Rand, group int) {
	ctx := context.Background()
	for n := 0; !s.stopped(); n++ {
		b := pick(rnd, s.clients).login(ctx, fmt.Sprintf("user %d-%d", group, n))
		if b == nil {
			pause(rnd, 10*time.Millisecond, 50*time.Millisecond)
			continue
		}
		gone := make(chan struct{})
		var users sync.WaitGroup
		for _, c := range s.clients {
			rnd := rand.New(rand.NewPCG(rnd.Uint64(), 0))
			users.Go(func() { use(ctx, rnd, c, b, gone) })
		}
		pause(rnd, 500*time.Millisecond, 1300*time.Millisecond)
		pick(rnd, s.clients).send(ctx, b, strict) // shows lost updates
		s.finish(ctx, rnd, b)
		time.Sleep(bound + 400*time.Millisecond) // the answers of this time matter most
		close(gone)
		users.Wait()
	}
}

// use sends requests of one browser to one node. Every other time it only
// reads, because a node that writes, or reads strictly, learns in that way what
// the others have done.
func use(ctx context.Context, rnd *rand.Rand, c *client, b *browser, gone chan struct{}) {
	reader := rnd.IntN(2) == 0
	for {
		select {
		case <-gone:
			return
		default:
		}
		k := check
		switch r := rnd.IntN(200); {
		case reader:
		case r < 24:
			k = strict
		case r < 64:
			k = add
		case r < 65:
			k = rotate // now reads are strict for a minute, until the secret is confirmed
		case r < 68 && b.mayRaise():
			k = raise
		}
		c.send(ctx, b, k)
		pause(rnd, 30*time.Millisecond, 120*time.Millisecond)
	}
}

// finish ends a session in a random way, and makes sure that it has ended.
func (s *site) finish(ctx context.Context, rnd *rand.Rand, b *browser) {
	var o *op
	switch c := pick(rnd, s.clients); rnd.IntN(3) {
	case 0:
		o = c.send(ctx, b, logout)
	case 1:
		o = c.send(ctx, b, end)
	default:
		o = c.endSubject(ctx, b)
	}
	for deadline := time.Now().Add(2 * time.Minute); o.out != done && !(o.kind == end && o.out == refused); {
		if s.Failed() && s.stopped() {
			return // perhaps no node is left
		}
		if time.Now().After(deadline) {
			s.Errorf("session %s can't be ended: %v", b.session, o)
			return
		}
		pause(rnd, 20*time.Millisecond, 60*time.Millisecond)
		o = pick(rnd, s.clients).send(ctx, b, end)
	}
}

// login creates a session through a node without a fault. On a busy machine
// that may take several attempts.
func (s *site) login(node int, subject string) *browser {
	s.Helper()
	for began := time.Now(); time.Since(began) < 30*time.Second; time.Sleep(50 * time.Millisecond) {
		if b := s.clients[node].login(context.Background(), subject); b != nil {
			return b
		}
	}
	s.Fatalf("node %d makes no session", node)
	return nil
}

// sleepers are sessions that all nodes have in memory, and that nobody reads
// until wake.
func (s *site) sleepers(n int) (list []*browser) {
	s.Helper()
	for i := range n {
		b := s.login(i%nodeCount, fmt.Sprint("sleeper ", i))
		for _, c := range s.clients {
			c.send(context.Background(), b, check)
		}
		list = append(list, b)
	}
	return list
}

// change ends three of four sleepers, and adds to the others, through nodes
// that are not named.
func (s *site) change(sleepers []*browser, not []int) {
	s.parallel(len(sleepers), func(i int) {
		b := sleepers[i]
		node := (i + i/nodeCount) % nodeCount
		for slices.Contains(not, node) {
			node = (node + 1) % nodeCount
		}
		if i%4 == 0 {
			s.clients[node].send(context.Background(), b, add)
			return
		}
		for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
			if o := s.clients[node].send(context.Background(), b, end); o.out == done || o.out == refused {
				return
			} else if s.Failed() && s.stopped() {
				return
			} else if time.Now().After(deadline) {
				s.Errorf("session %s can't be ended: %v", b.session, o)
				return
			}
		}
	})
}

// wake reads sleepers through all nodes.
func (s *site) wake(sleepers []*browser) {
	s.parallel(nodeCount, func(node int) {
		for _, b := range sleepers {
			s.clients[node].send(context.Background(), b, check)
		}
	})
}

// press logs in one subject over and over, and checks the limit of its
// sessions.
func (s *site) press(rnd *rand.Rand, app string) {
	ctx := context.Background()
	for !s.stopped() {
		c := pick(rnd, s.clients)
		c.do(ctx, "POST", "/"+app+"/login", url.Values{"subject": {"everybody"}}, "")
		if re := c.do(ctx, "GET", "/"+app+"/count", url.Values{"subject": {"everybody"}}, ""); re.Count > crowdLimit {
			s.h.complain("I11: %d sessions of one subject in %s", re.Count, app)
		}
		pause(rnd, 50*time.Millisecond, 150*time.Millisecond)
	}
}

// resumes waits until every node works, with its memory in use, and returns how
// long that took.
func (s *site) resumes() time.Duration {
	s.Helper()
	began := time.Now()
	const limit = time.Minute
	var nodes sync.WaitGroup
	for i, c := range s.clients {
		nodes.Go(func() {
			for {
				err := s.works(c, fmt.Sprint("probe ", i))
				if err == nil {
					return
				}
				if time.Since(began) > limit {
					s.Errorf("node %d doesn't work %v after the fault: %v", i, limit, err)
					return
				}
				time.Sleep(20 * time.Millisecond)
			}
		})
	}
	nodes.Wait()
	return time.Since(began)
}

// works creates a session on one node and ends it.
func (s *site) works(c *client, subject string) error {
	ctx := context.Background()
	b := c.login(ctx, subject)
	if b == nil {
		return errors.New("no login")
	}
	for _, k := range []kind{add, check, strict} {
		if o := c.send(ctx, b, k); o.out != done {
			return fmt.Errorf("%v", o)
		}
	}
	if o := c.send(ctx, b, end); o.out != done {
		return fmt.Errorf("%v", o)
	}
	return c.live()
}

// limitsHold fills both applications to their limits, and counts.
func (s *site) limitsHold(atLeast int) {
	s.Helper()
	for _, app := range []string{"crowd", "queue"} {
		var logins sync.WaitGroup
		for i := range 8 * nodeCount {
			logins.Go(func() {
				s.clients[i%nodeCount].do(context.Background(), "POST", "/"+app+"/login", url.Values{"subject": {"everybody"}}, "")
			})
		}
		logins.Wait()
		for i, c := range s.clients {
			count := func() reply {
				return c.do(context.Background(), "GET", "/"+app+"/count", url.Values{"subject": {"everybody"}}, "")
			}
			re := count()
			for began := time.Now(); re.out != done && time.Since(began) < 2*time.Minute; re = count() {
				time.Sleep(time.Second) // a busy machine may take longer than a node waits
			}
			if re.out != done || re.Count > crowdLimit || re.Count < atLeast {
				s.Errorf("I11: after the fault node %d counts %d sessions in %s: %s", i, re.Count, app, re.text)
			}
		}
	}
}
