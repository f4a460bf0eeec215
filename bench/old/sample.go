package main

import (
	"encoding/base64"
	"encoding/binary"
	"strconv"
	"time"

	"github.com/sojourn-go/sojourn/store"
)

// What the parts that call stores directly keep in them: logged-in sessions like those of the memory measurement, as the engine would
// make them, where session i is the same in every run.

const sampleApp = "default"

// sampleStart is when session 0 was created.
var sampleStart = store.TimeOf(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))

const samplesPerMilli = 20 // sessions created in a millisecond, as a store under load sees them

// Of the sessions the even ones idle for an hour at most, the odd ones for a day.
const (
	shortIdle = time.Hour
	longIdle  = 24 * time.Hour
)

// noise fills b with bytes that are different for each i and use, and don't compress.
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

// sampleID is a UUID of version 7 with the time of the session's creation, and random bits.
func sampleID(i int) store.ID { return samples{sampleStart}.id(i) }

// sampleRecord makes rec session i as at its creation, and reuses rec's memory.
func sampleRecord(rec *store.Record, i int) { samples{sampleStart}.record(rec, i) }

// samples are the sample sessions with another time for session 0, for stores on servers with a clock of their own.
type samples struct{ start store.Time }

func (s samples) created(i int) store.Time { return s.start + store.Time(i/samplesPerMilli) }

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

// sampleValues are 100 bytes of JSON under a key, in the memory of v.
func sampleValues(v store.Values, i int) store.Values {
	return store.Values(nil).AppendSet(v[:0], "data", strconv.AppendQuote(nil, someValue(i)[:98]))
}

// sampleToken is what a library that keeps raw tokens would hand out for session i: 32 random bytes.
func sampleToken(i int) string {
	var b [32]byte
	noise(b[:], i, 4)
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// appendRecord appends what a record says, the least that a log of sessions could write.
func appendRecord(b []byte, r *store.Record) []byte {
	text := func(s string) {
		b = append(binary.AppendUvarint(b, uint64(len(s))), s...)
	}
	number := func(n int64) { b = binary.AppendVarint(b, n) }
	b = append(b, r.ID[:]...)
	number(int64(r.Revision))
	text(r.Subject)
	number(int64(r.Epoch))
	b = append(append(b, r.Secret.Hash[:]...), r.EpochHash[:]...)
	for _, t := range []store.Time{r.Secret.IssuedAt, r.Secret.FirstSeenAt, r.Secret.ConfirmedAt, r.AuthenticatedAt, r.LastSeenAt, r.ExpiresAt} {
		number(int64(t - r.CreatedAt))
	}
	number(int64(r.CreatedAt))
	number(r.Idle.Milliseconds())
	text(r.AMR)
	b = append(b, r.Level)
	ip := r.Client.IP.As16()
	b = append(b, ip[:]...)
	text(r.Client.UserAgent) // LastClient is the same
	text(string(r.Values))
	return b
}
