package faults

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn/internal/servertest"
)

// TestClusterReshard: slots with sessions and subjects move from master to
// master, key by key, while clients use them. While a slot is half moved, Redis
// sends clients from one master to the other, and refuses scripts with several
// keys.
func TestClusterReshard(t *testing.T) {
	long(t)
	waits := 0
	if soak() {
		waits = 1 // ends then take another path
	}
	s, c := onCluster(t, waits)
	stop := make(chan struct{})
	var moving sync.WaitGroup
	moved := 0
	s.suffer(fault{
		length: 4 * time.Second,
		hit:    func() { moving.Go(func() { moved = s.reshard(c, stop) }) },
		heal: func() {
			close(stop)
			moving.Wait()
		},
	})
	refused := map[string]int{}
	for _, m := range c.Masters() {
		for _, code := range []string{"ASK", "MOVED", "TRYAGAIN"} {
			text, _ := m.Info("errorstat_" + code)
			n, _ := strconv.Atoi(strings.TrimPrefix(text, "count="))
			refused[code] += n
		}
	}
	s.Logf("%d slots were moved; Redis refused %v", moved, refused)
	if refused["ASK"] == 0 || refused["TRYAGAIN"] == 0 {
		s.Errorf("clients hardly met a slot that moved, so the case says nothing")
	}
}

// reshard moves some slots, and then others until it is stopped. It returns
// their number. It moves one at a time, because the masters of a Cluster may
// disagree about two. Now and then it pauses, so that nodes use their memory in
// between.
func (s *site) reshard(c *servertest.RedisCluster, stop chan struct{}) (moved int) {
	rnd := rand.New(rand.NewPCG(s.seed, 200))
	for rest := 0; ; rest = pick(rnd, []int{0, 0, 0, 600}) {
		time.Sleep(time.Duration(rest) * time.Millisecond)
		select {
		case <-stop:
			if moved >= 8 {
				return moved
			}
		default:
		}
		slot, from, to := s.slotInUse(c, rnd)
		if from == nil {
			continue
		}
		longest := pick(rnd, []time.Duration{time.Millisecond, 10 * time.Millisecond, 70 * time.Millisecond})
		if err := c.MoveSlot(slot, from, to, func() { time.Sleep(rand.N(longest)) }); err != nil {
			s.Error(err)
			return moved
		}
		moved++
	}
}

// slotInUse returns a slot that clients are likely to need, the master that has
// it, and another master.
func (s *site) slotInUse(c *servertest.RedisCluster, rnd *rand.Rand) (slot int, from, to *servertest.RedisServer) {
	masters := c.Masters()
	pattern := "sojourn:*everybody}"
	history := s.h.all()
	if o := history[len(history)-1-rnd.IntN(min(len(history), 50))]; o.session != "" && rnd.IntN(4) > 0 {
		pattern = "sojourn:s:*:" + o.session
	}
	for i, m := range masters {
		keys, err := m.Do("KEYS", pattern)
		if list, _ := keys.([]any); err == nil && len(list) > 0 {
			n, err := m.Do("CLUSTER", "KEYSLOT", fmt.Sprint(pick(rnd, list)))
			if number, ok := n.(int64); err == nil && ok && len(masters) > 1 {
				return int(number), m, masters[(i+1+rnd.IntN(len(masters)-1))%len(masters)]
			}
		}
	}
	return 0, nil, nil
}
