package memstore

import (
	"crypto/sha256"
	"encoding/binary"

	"github.com/sojourn-go/sojourn/store"
)

// maxBarriers bounds the barriers of a shard. When there are more, the older
// half becomes one barrier for all subjects of the shard. It refuses logins
// that arrived long ago, and costs the user another try.
const maxBarriers = 4096

// barriers are those that EndSubject raised.
type barriers struct {
	ledger[barrier]
	floors map[uint32]store.Time // by the application's number: a barrier for all subjects
}

type barrier struct {
	app uint32
	at  store.Time
}

func barrierKey(a *app, subject string) [32]byte {
	b := binary.LittleEndian.AppendUint32(make([]byte, 0, 256), a.num)
	return sha256.Sum256(append(b, subject...))
}

// of returns a subject's barrier, never if there is none.
func (b *barriers) of(a *app, subject string) store.Time {
	at, ok := b.floors[a.num]
	if !ok {
		at = never
	}
	if b.len() == 0 {
		return at
	}
	if v := b.get(barrierKey(a, subject)); v != nil {
		at = max(at, v.at)
	}
	return at
}

// hold reports whether a barrier refuses a request that arrived at this time.
func (b *barriers) hold(a *app, subject string, arrived store.Time) bool {
	return b.of(a, subject) >= arrived
}

func (b *barriers) raise(a *app, subject string, at store.Time) {
	key := barrierKey(a, subject)
	if v := b.get(key); v != nil {
		v.at = max(v.at, at)
		return
	}
	if b.len() >= maxBarriers {
		b.merge()
	}
	b.put(key, barrier{a.num, at})
}

func (b *barriers) merge() {
	lowest, highest := b.entries[0].val.at, b.entries[0].val.at
	for i := range b.entries {
		lowest, highest = min(lowest, b.entries[i].val.at), max(highest, b.entries[i].val.at)
	}
	middle := max(lowest, lowest/2+highest/2) // lowest if the halves were rounded
	if b.floors == nil {
		b.floors = map[uint32]store.Time{}
	}
	b.removeIf(0, len(b.entries), func(v *barrier) bool {
		if v.at > middle {
			return false
		}
		if floor, ok := b.floors[v.app]; !ok || floor < v.at {
			b.floors[v.app] = v.at
		}
		return true
	})
}
