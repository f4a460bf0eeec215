package faults

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn/internal/servertest"
)

// leastOps is how many requests a fault must meet for its case to be
// meaningful.
const leastOps = 100

// A fault happens to a site.
type fault struct {
	nodes    []int  // whose requests it affects; empty: all
	hit      func() // begins the fault, and returns when it is in full effect
	heal     func() // ends it
	length   time.Duration
	forever  time.Duration // its length with SOJOURN_SOAK, if it is not the usual one
	wipes    bool          // the store is empty afterwards
	failover bool          // writes that no replica had received may be lost
	undoes   bool          // ends may be lost too
	cutShort bool          // a write that timed out waiting for a replica may have been seen, and then lost
	deaf     bool          // its nodes still answer
	fewer    bool          // for a while a crash may leave a subject fewer sessions than its limit
}

// suffer makes a fault happen while clients are at work, and checks everything
// that must hold.
func (s *site) suffer(f fault) {
	s.Helper()
	s.serve()
	time.Sleep(time.Second)
	if s.resumes(); s.Failed() {
		s.FailNow()
	}
	length := f.length
	if soak() {
		length = max(3*length, f.forever)
	}

	sleepers := s.sleepers(32)
	from := s.h.now()
	changed := make(chan struct{})
	s.running.Go(func() {
		defer close(changed)
		time.Sleep(200 * time.Millisecond)
		s.change(sleepers, f.nodes)
	})
	f.hit()
	time.Sleep(length)
	met := func(to time.Duration) int { // requests that matter: those to deaf nodes, or to all, because the others see what a working node did
		all, there := within(s.h.all(), from, to, f.nodes...)
		if f.deaf {
			return there
		}
		return all
	}
	for met(s.h.now()) < leastOps && s.h.now() < from+length+10*time.Second {
		time.Sleep(100 * time.Millisecond)
	}
	f.heal()
	to := s.h.now()

	s.wake(sleepers[:16]) // at once, and later when memory is in use again
	resumed := s.resumes()
	s.wake(sleepers[16:])
	<-changed
	s.stop()
	least := crowdLimit
	if f.fewer {
		least = 1
	}
	s.limitsHold(least)

	history := s.h.all()
	if f.wipes {
		history = wiped(history, from, to)
	}
	v := judge(history, nil)
	all, there := within(history, from, to, f.nodes...)
	s.Logf("the fault took %v, with %d requests, %d of them to its nodes; service was back %v after it; %s",
		(to - from).Round(time.Millisecond), all, there, resumed.Round(time.Millisecond), outcomes(history, from, to))
	if n := met(to); n < leastOps {
		s.Errorf("%d requests met the fault, which says little: want %d", n, leastOps)
	}
	problems := append(v.problems(), v.unsure...)
	if f.failover || f.cutShort {
		problems = append(s.excused(v, history, from, to, &f), v.unsure...)
	}
	s.report(problems)
}

// report fails the test for each problem.
func (s *site) report(problems []string) {
	s.Helper()
	problems = append(problems, s.h.broken...)
	for i, p := range problems {
		if i == 5 {
			s.Errorf("and %d more", len(problems)-i)
			break
		}
		s.Error(p)
	}
}

// wiped adds the loss of the store's data to the history of each session that
// existed.
func wiped(history []*op, from, to time.Duration) []*op {
	for session, part := range sessions(history) {
		if session == "" || part[0].sent > to {
			continue
		}
		w := &op{client: int(clients.Add(1)), kind: wipe, session: session, out: done, sent: from, got: to}
		if part[0].got > from {
			w.out = unknown // created before the loss, or after it
		}
		history = append(history, w)
	}
	return history
}

// excused returns the problems that a failover doesn't explain. Writes may be
// lost if they were acknowledged between a second before the failover and the
// takeover; ends only if undoes is set. excused counts the affected sessions.
// With cutShort that includes sessions with a write of unknown outcome: others
// may have read it although no client was told that it happened.
func (s *site) excused(v *verdict, history []*op, from, to time.Duration, f *fault) (problems []string) {
	lost, undone, unseen := 0, 0, 0
	for session, part := range sessions(history) {
		late := lateAnswers(part)
		found := append(late, v.sessions[session]...)
		gone := slices.ContainsFunc(part, func(o *op) bool {
			writes := o.kind != check && o.kind != strict && (f.undoes || o.kind != end && o.kind != logout)
			return f.failover && writes && o.out == done && o.got > from-time.Second && o.got < to
		})
		cut := slices.ContainsFunc(part, func(o *op) bool {
			return f.cutShort && o.out == unknown && o.sent > from-time.Second && o.sent < to && o.got-o.sent >= nodeTimeout
		})
		switch {
		case len(found) == 0:
		case gone && (f.undoes || len(late) == 0):
			if lost++; len(late) > 0 {
				undone++
			}
		case cut && len(late) == 0 && len(lostUpdates(part)) == 0:
			unseen++
		default:
			problems = append(problems, found...)
		}
	}
	s.Logf("of %d sessions the failover took something from %d, and brought %d back that had ended; from %d it took what nobody was told",
		v.checked, lost, undone, unseen)
	if f.undoes && undone == 0 {
		s.Error("the replica lacked nothing, so the case says nothing")
	}
	return problems
}

// outcomes counts the answers to the requests of a period.
func outcomes(history []*op, from, to time.Duration) string {
	count := map[string]int{}
	for _, o := range history {
		if o.sent >= from && o.sent <= to {
			count[o.out.String()]++
		}
	}
	return strings.TrimPrefix(fmt.Sprint(count), "map")
}

// A lab is a store on which sites are built.
type lab struct {
	name string
	on   func(t *testing.T) *site
}

var labs = []lab{
	{"Redis", func(t *testing.T) *site { s, _ := onRedis(t, servertest.RedisOptions{}); return s }},
	{"Cluster", func(t *testing.T) *site { s, _ := onCluster(t, 0); return s }},
	{"PostgreSQL", func(t *testing.T) *site { s, _ := onPostgreSQL(t, servertest.PostgreSQLOptions{}); return s }},
}

// If the connections between the nodes and the store fail, it matters on which
// side of a pooler.
var poolers = []lab{
	{"PgBouncer", func(t *testing.T) *site { s, _ := onPgBouncer(t); return s }},
	{"behind PgBouncer", func(t *testing.T) *site {
		s, p := onPgBouncer(t)
		s.commands, s.feeds = [nodeCount]proxies{1: {p.behind}}, [nodeCount]proxies{} // all nodes share it, so once is enough
		s.pooler = p.bouncer
		return s
	}},
}

// everywhere runs a test on every store, and in further labs.
func everywhere(t *testing.T, run func(s *site), more ...lab) {
	t.Parallel()
	for _, l := range append(more, labs...) {
		t.Run(l.name, func(t *testing.T) {
			long(t)
			run(l.on(t))
		})
	}
}

// long marks a test that takes seconds.
func long(t *testing.T) {
	if testing.Short() {
		t.Skip("seconds for each fault: make test has them")
	}
	t.Parallel()
}

// proxied returns a fault of some nodes' connections.
func proxied(list proxies, toxics []toxic, length time.Duration) fault {
	return fault{hit: func() { list.add(toxics...) }, heal: list.heal, length: length}
}

func TestLatency(t *testing.T) {
	everywhere(t, func(s *site) { s.suffer(proxied(s.all(), slow, 2*time.Second)) })
}

// Half-open connections: those of one node go silent in both directions, and so
// do new ones.
func TestHalfOpen(t *testing.T) {
	everywhere(t, func(s *site) {
		f := proxied(s.all(1), halfOpen, 3*time.Second)
		f.nodes = []int{1}
		s.suffer(f)
	})
}

func TestResets(t *testing.T) {
	everywhere(t, func(s *site) { s.suffer(proxied(s.all(), resets, 2*time.Second)) }, poolers...)
}

// TestFeedCut: a node reads and writes, but hears nothing from the others.
func TestFeedCut(t *testing.T) {
	everywhere(t, func(s *site) {
		f := fault{
			nodes: []int{1}, deaf: true, length: 2500 * time.Millisecond,
			hit:  func() { s.feeds[1].each((*proxy).cut) },
			heal: func() { s.feeds[1].each((*proxy).restore) },
		}
		s.suffer(f)
	})
}

// TestFeedSilent: the same, but the node's connections stay open.
func TestFeedSilent(t *testing.T) {
	everywhere(t, func(s *site) {
		f := proxied(s.feeds[1], halfOpen, 3*time.Second)
		f.nodes, f.deaf = []int{1}, true
		s.suffer(f)
	})
}

// TestFeedSluggish: a node hears everything, and its heartbeats come back, but
// more than a second late.
func TestFeedSluggish(t *testing.T) {
	everywhere(t, func(s *site) {
		f := proxied(s.feeds[1], sluggish, 3*time.Second)
		f.nodes, f.deaf = []int{1}, true
		s.suffer(f)
	})
}

// TestNodePaused: a node stops, like a virtual machine while it is moved, and
// then goes on with the sessions in its memory.
func TestNodePaused(t *testing.T) {
	everywhere(t, func(s *site) {
		s.suffer(fault{
			nodes: []int{1}, length: 3 * time.Second, forever: time.Minute,
			hit:  func() { s.processes[1].signal(s, sigstop) },
			heal: func() { s.processes[1].signal(s, sigcont) },
		})
	})
}

// TestRedisRestartedEmpty: all sessions are lost, and none comes back.
func TestRedisRestartedEmpty(t *testing.T) {
	long(t)
	s, r := onRedis(t, servertest.RedisOptions{})
	s.suffer(fault{
		length: 1500 * time.Millisecond, wipes: true,
		hit:  func() { s.must(r.Kill()) },
		heal: func() { s.must(r.RestartEmpty()) },
	})
}

// TestRedisRestarted: with "appendfsync always" nothing that was acknowledged
// is lost.
func TestRedisRestarted(t *testing.T) {
	long(t)
	s, r := onRedis(t, servertest.RedisOptions{AppendOnly: true})
	s.suffer(fault{
		length: 1500 * time.Millisecond,
		hit:    func() { s.must(r.Kill()) },
		heal:   func() { s.must(r.Start()) },
	})
}

// TestI4ClusterFailover: a master dies while its replica lags behind; then the
// replica takes over. An acknowledged end has waited for the replica, so it
// holds. Other writes may be lost.
func TestI4ClusterFailover(t *testing.T) {
	long(t)
	s, c := onCluster(t, 1)
	s.suffer(s.failover(c))
}

// TestClusterFailoverUnawaited: the same without waiting. An end that was
// acknowledged just before the master died may be undone.
func TestClusterFailoverUnawaited(t *testing.T) {
	long(t)
	s, c := onCluster(t, 0)
	f := s.failover(c)
	f.undoes = true
	s.suffer(f)
}

func (s *site) failover(c *servertest.RedisCluster) fault {
	master := c.Masters()[0]
	replica, err := c.Replica(master)
	s.must(err)
	return fault{
		length: 500 * time.Millisecond, failover: true, fewer: true,
		hit: func() {
			do := func(command ...string) {
				_, err := replica.Do(command...)
				s.must(err)
			}
			do("CONFIG", "SET", "masterauth", "the wrong one") // it can't reconnect to its master
			do("CLIENT", "KILL", "TYPE", "master")
			time.Sleep(700 * time.Millisecond)
			s.must(master.Kill())
			s.must(c.WaitTakeover(replica))
			do("CONFIG", "SET", "masterauth", "")
		},
		heal: func() { s.must(master.Start()); s.must(c.WaitHealthy()) },
	}
}

// TestPostgreSQLKilled: nothing that was acknowledged is lost.
func TestPostgreSQLKilled(t *testing.T) {
	long(t)
	s, p := onPostgreSQL(t, servertest.PostgreSQLOptions{})
	s.suffer(fault{
		length: 1500 * time.Millisecond,
		hit:    func() { s.must(p.Kill()) },
		heal:   func() { s.must(p.Start()) },
	})
}

// TestPostgreSQLDiskFull: the server's disk is full, for its data and its log.
// PostgreSQL stops when it can't write its log. The test starts it again when
// there is room, as a service manager does.
func TestPostgreSQLDiskFull(t *testing.T) {
	long(t)
	disk := servertest.SmallDisk(t, 96<<20)
	s, p := onPostgreSQL(t, servertest.PostgreSQLOptions{
		Dir: disk, InitArgs: []string{"--wal-segsize=1"}, Config: []string{"min_wal_size = 2MB", "max_wal_size = 4MB"},
	})
	ballast := filepath.Join(disk, "ballast")
	s.suffer(fault{
		length: 3 * time.Second,
		hit: func() {
			f, err := os.Create(ballast)
			s.must(err)
			defer f.Close()
			for block := make([]byte, 64<<10); err == nil; {
				_, err = f.Write(block)
			}
			if !errors.Is(err, syscall.ENOSPC) {
				s.Fatal(err)
			}
			// The existing segments of the log have room until they have been
			// used.
			for began := time.Now(); countOf(s.h.all(), failed) == 0 && time.Since(began) < 30*time.Second; time.Sleep(50 * time.Millisecond) {
				_, _ = p.Query("postgres", "SELECT pg_switch_wal()")
			}
		},
		heal: func() {
			out, err := p.Query("postgres", "CREATE TABLE full_disk AS SELECT repeat('x', 100) FROM generate_series(1, 100000)")
			if err == nil {
				s.Errorf("the disk wasn't full: %s", out)
			}
			s.Logf("with the disk full PostgreSQL says: %v", err)
			if n := countOf(s.h.all(), failed); n == 0 {
				s.Error("no request failed, so the case says nothing")
			}
			s.must(os.Remove(ballast))
			if !p.Running() {
				s.must(p.Start())
			}
		},
	})
}

func countOf(history []*op, out outcome) (n int) {
	for _, o := range history {
		if o.out == out {
			n++
		}
	}
	return n
}

func (s *site) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}
