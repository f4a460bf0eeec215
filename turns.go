package sojourn

import "sync"

// A commitQueue lets the commits of one session take turns, so that in one
// process none has to be tried twice for long.
type commitQueue struct {
	shards [64]struct {
		mu    sync.Mutex
		turns map[ID]*turn
		spare *turn
	}
}

type turn struct {
	mu    sync.Mutex
	users int // commits that hold it or wait for it; guarded by the shard's mutex
}

func (q *commitQueue) enter(id ID) *turn {
	shard := &q.shards[id[15]%64]
	shard.mu.Lock()
	if shard.turns == nil {
		shard.turns = make(map[ID]*turn)
	}
	t := shard.turns[id]
	if t == nil {
		if t, shard.spare = shard.spare, nil; t == nil {
			t = new(turn)
		}
		shard.turns[id] = t
	}
	t.users++
	shard.mu.Unlock()
	t.mu.Lock()
	return t
}

func (q *commitQueue) leave(id ID, t *turn) {
	t.mu.Unlock()
	shard := &q.shards[id[15]%64]
	shard.mu.Lock()
	if t.users--; t.users == 0 {
		delete(shard.turns, id)
		shard.spare = t
	}
	shard.mu.Unlock()
}
