package bench

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/store"
)

const app = "default"

// samples are sessions as the engine makes them, for benchmarks that call stores:
// logged in, with 100 bytes of values and a client. Session i is the same in
// every run. start is when session 0 was created.
type samples struct{ start store.Time }

// fixed are the samples for stores that take every time from their caller.
var fixed = samples{store.TimeOf(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))}

// The even sessions idle for an hour at most, the odd ones for a day.
const (
	shortIdle = time.Hour
	longIdle  = 24 * time.Hour
)

// inUse is how many sessions are read and changed: the visitors of a moment are a
// small part of what is stored, and were created at about the same time.
const inUse = 10_000

// created counts 20 sessions to the millisecond, as a store under load sees them.
func (s samples) created(i int) store.Time { return s.start + store.Time(i/20) }

// id returns a UUID of version 7 with the session's time and random bits.
func (s samples) id(i int) store.ID {
	var id store.ID
	noise(id[:], i, 1)
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(s.created(i)))
	copy(id[:6], ms[2:])
	id[6] = id[6]&0x0f | 0x70
	id[8] = id[8]&0x3f | 0x80
	return id
}

// record makes rec session i as at its creation, and reuses rec's memory.
func (s samples) record(rec *store.Record, i int) {
	now := s.created(i)
	client := clientOf(i)
	*rec = store.Record{
		ID: s.id(i), Subject: userID(i), Epoch: 1,
		Secret:    store.Secret{IssuedAt: now, FirstSeenAt: now, ConfirmedAt: now, Login: true},
		CreatedAt: now, AuthenticatedAt: now, LastSeenAt: now, Idle: longIdle, ExpiresAt: now.Add(30 * 24 * time.Hour),
		AMR: "pwd", Level: 1, Client: client, LastClient: client,
		Good: rec.Good[:0], Spent: rec.Spent[:0], Epochs: rec.Epochs[:0], Values: sampleValues(rec.Values, i),
	}
	if i%2 == 0 {
		rec.Idle = shortIdle
	}
	noise(rec.Secret.Hash[:], i, 2)
	noise(rec.EpochHash[:], i, 3)
}

func (s samples) create(st store.Store, rec *store.Record, i int) error {
	s.record(rec, i)
	opt := store.CreateOptions{Limit: store.Limit{Max: 100}, Arrived: rec.CreatedAt, Now: rec.CreatedAt}
	_, err := st.Create(context.Background(), app, rec, opt)
	return err
}

func (s samples) get(st store.Store, rec *store.Record, i int, strict bool) error {
	if err := st.Get(context.Background(), app, s.id(i), strict, rec); err != nil {
		return fmt.Errorf("session %d: %w", i, err)
	}
	return nil
}

// change writes other values to the session that rec holds.
func (s samples) change(st store.Store, rec *store.Record, i int) error {
	rec.Values = sampleValues(rec.Values, i+int(rec.Revision))
	now := rec.CreatedAt + 1
	_, err := st.Update(context.Background(), app, rec, store.UpdateOptions{Arrived: now, Now: now})
	return err
}

// fill creates the samples from from up to to.
func (s samples) fill(st store.Store, from, to, workers int) {
	spread(from, to, workers, func(h *hand, i int) error { return s.create(st, &h.rec, i) })
}

// sampleValues are 100 bytes of JSON under a key, in the memory of v.
func sampleValues(v store.Values, i int) store.Values {
	return store.Values(nil).AppendSet(v[:0], "data", strconv.AppendQuote(nil, someValue(i)))
}

// someValue returns 98 bytes, others for each i.
func someValue(i int) string {
	s := strconv.Itoa(i) + "-"
	return s + twentyValue[:87-len(s)] + "abcdefghijk"
}

// noise fills b with bytes that differ for each i and use, and don't compress.
func noise(b []byte, i int, use uint64) {
	x := uint64(i)<<8 | use
	var word [8]byte
	for len(b) > 0 { // SplitMix64
		x += 0x9e3779b97f4a7c15
		z := x
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		binary.LittleEndian.PutUint64(word[:], z^z>>31)
		b = b[copy(b, word[:]):]
	}
}

// clientOf is where session i comes from: one of 1,000 user agents, and an address
// of its own, of IPv6 for every second session.
func clientOf(i int) sojourn.Client {
	r := rand.New(rand.NewPCG(uint64(i), 7))
	var ip [16]byte
	binary.LittleEndian.PutUint64(ip[:], r.Uint64())
	binary.LittleEndian.PutUint64(ip[8:], r.Uint64())
	addr := netip.AddrFrom4([4]byte(ip[:4]))
	if ip[7]&0x80 != 0 {
		ip[0] = 0x20
		addr = netip.AddrFrom16(ip)
	}
	return sojourn.Client{IP: addr, UserAgent: userAgents()[i%1000]}
}

var userAgents = sync.OnceValue(func() []string {
	list := make([]string, 1000)
	for i := range list {
		list[i] = fmt.Sprintf("Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/%d.0.%d.%d Safari/537.36", 100+i%40, 4000+i, i%97)
	}
	return list
})
