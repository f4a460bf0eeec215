package redisstore

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/sojourn-go/sojourn/internal/servertest"
)

// comparing returns a function that counts the sessions that were compared with
// their subjects' indexes since its last call.
func comparing(t *testing.T, r *servertest.RedisServer) func() int {
	t.Helper()
	last := 0
	since := func() int {
		t.Helper()
		stats, err := r.Do("INFO", "commandstats")
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(stats.(string), "cmdstat_zscore:calls=")
		number, _, _ := strings.Cut(rest, ",")
		now, _ := strconv.Atoi(number)
		n := now - last
		last = now
		return n
	}
	since()
	return since
}

func openNodes(t *testing.T, url string) []*Store {
	t.Helper()
	var nodes []*Store
	for range 5 {
		nodes = append(nodes, openAt(t, url, Options{Prefix: "nodes"}))
	}
	return nodes
}

// After a restart, which all nodes notice, they together compare all sessions
// once.
func TestOneComparisonAfterARestart(t *testing.T) {
	t.Parallel()
	r := servertest.Redis(t, servertest.RedisOptions{AppendOnly: true, Config: []string{"appendfsync no"}})
	nodes := openNodes(t, r.URL())
	const n = 500
	for i := range n {
		create(t, nodes[0], lasting(fmt.Sprint("ada", i)))
	}
	compared := comparing(t, r)
	sweepByAll := func(when string, want int) {
		t.Helper()
		for _, s := range nodes {
			sweepAll(t, s, t0)
		}
		if got := compared(); got != want {
			t.Errorf("%s %d nodes compared %d sessions, want %d", when, len(nodes), got, want)
		}
	}
	sweepByAll("in the first turn", n)
	sweepByAll("in the same turn", 0)
	before := nodes[0].watch.known()
	if err := r.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := r.Start(); err != nil {
		t.Fatal(err)
	}
	for _, s := range nodes {
		for deadline := time.Now().Add(atMost); s.watch.known() == before; time.Sleep(50 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("a node doesn't notice the restart")
			}
		}
	}
	compared = comparing(t, r) // Redis has reset its counter
	sweepByAll("after a restart", n)
	sweepByAll("after that", 0)
}

// Nodes that know of different histories, as for a moment after a failover,
// don't undo each other's turns.
func TestHistoriesThatDiffer(t *testing.T) {
	t.Parallel()
	r := servertest.Redis(t, servertest.RedisOptions{})
	nodes := openNodes(t, r.URL())
	const n = 100
	for i := range n {
		create(t, nodes[0], lasting(fmt.Sprint("ada", i)))
	}
	for i, histories := range []string{"aaaa,bbbb", "aaaa,cccc", "aaaa", "", "cccc,dddd"} {
		nodes[i].cancel() // stops its monitor
		nodes[i].stopped.Wait()
		nodes[i].watch.histories = histories
	}
	compared := comparing(t, r)
	for _, want := range []int{n, n, 0, 0, n, 0, 0, 0, 0, 0, 0} { // aaaa and bbbb, cccc, dddd
		sweepAll(t, nodes[0], t0)
		if got := compared(); got != want {
			t.Errorf("a node compared %d sessions, want %d", got, want)
		}
		nodes = append(nodes[1:], nodes[0])
	}
}

// A failed comparison is repeated, only in its own bucket.
func TestComparisonFailsInPart(t *testing.T) {
	t.Parallel()
	r := servertest.Redis(t, servertest.RedisOptions{})
	s := openNodes(t, r.URL())[0]
	const first, other = 40, 20
	for i := range first + other {
		rec := lasting(fmt.Sprint("ada", i))
		if rec.ID[15] = 0; i >= first {
			rec.ID[15] = 100
		}
		create(t, s, rec)
	}
	for i := range first + other {
		lose(t, s, fmt.Sprint("ada", i))
	}
	steps := 0
	s.hook = func(step string) error {
		if step == "mend" {
			if steps++; steps == 2 {
				return errors.New("the index's shard doesn't answer")
			}
		}
		return nil
	}
	compared := comparing(t, r)
	if _, _, err := s.Sweep(t.Context(), app, t0, 1000); err == nil {
		t.Fatal("a sweep that fails in part says nothing")
	}
	sweepAll(t, s, t0)
	sweepAll(t, s, t0)
	if got := compared(); got != sweepStep+first+other {
		t.Errorf("%d sessions were compared, want one step, then all once", got)
	}
	for i := range first + other {
		wantIndexed(t, s, fmt.Sprint("ada", i))
	}
	if n := s.Stats().Mended; n != first+other {
		t.Errorf("Mended = %d", n)
	}
}

// Sessions that a sweep has met are compared even if its answer was lost.
func TestSweepsAnswerIsLost(t *testing.T) {
	t.Parallel()
	s := open(t, Options{})
	create(t, s, lasting("ada"))
	sweepAll(t, s, t0) // Redis knows the script
	lose(t, s, "ada")
	s.cancel() // the monitor uses the client too
	s.stopped.Wait()
	client := s.client
	s.client = losing{client}
	for range buckets / sweepWidth {
		if _, _, err := s.Sweep(t.Context(), app, t0+mendEvery, 1); err == nil {
			t.Fatal("a sweep whose answers are lost says nothing")
		}
		s.rounds[app].bucket = (s.rounds[app].bucket + sweepWidth) % buckets
	}
	s.client = client
	clear(s.rounds)
	sweepAll(t, s, t0+mendEvery)
	if n := members(t, s, "ada"); n != 1 {
		t.Errorf("the index has %d members", n)
	}
}

// A losing client sends commands and loses their answers.
type losing struct{ rueidis.Client }

func (c losing) DoMulti(ctx context.Context, commands ...rueidis.Completed) []rueidis.RedisResult {
	for i := range commands {
		commands[i] = commands[i].Pin() // they are sent twice
	}
	c.Client.DoMulti(ctx, commands...)
	over, cancel := context.WithCancel(ctx)
	cancel()
	return c.Client.DoMulti(over, commands...)
}

// Sweeps begin at different buckets, so that nodes that begin at the same time
// use different masters.
func TestSweepsBeginApart(t *testing.T) {
	t.Parallel()
	s := open(t, Options{})
	create(t, s, session(""))
	begun := map[int]bool{}
	for range 20 {
		if _, done, err := s.Sweep(t.Context(), app, t0, 1); err != nil || done {
			t.Fatalf("a step of a sweep: %v, %v", done, err)
		}
		begun[s.rounds[app].from] = true
		sweepAll(t, s, t0)
	}
	if len(begun) < 2 {
		t.Errorf("twenty sweeps began at the buckets %v", begun)
	}
}
