package redisstore

import (
	"crypto/sha1" //nolint:gosec // Redis has no other hash
	"encoding/hex"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/sojourn-go/sojourn/store"
)

// Sessions lie in buckets, by the last byte of their IDs, which is random. All
// keys of a bucket have its tag. So a Redis Cluster keeps them on one node, and
// one script changes a session together with its indexes.
const buckets = 256

// tags are numbers whose slots are spread evenly over the slots of a Redis
// Cluster, so that its nodes share the buckets evenly.
var tags = spreadTags()

const (
	clusterSlots = 1 << 14
	slotWindow   = clusterSlots / buckets
)

func spreadTags() (tags [buckets]string) {
	for n, missing := 0, buckets; missing > 0; n++ {
		tag := strconv.Itoa(n)
		if window := slotOf(tag) / slotWindow; tags[window] == "" {
			tags[window] = tag
			missing--
		}
	}
	return tags
}

// slotOf returns the slot of a hash tag: its CRC16 (XMODEM), as the
// specification of Redis Cluster says.
func slotOf(tag string) int {
	crc := uint16(0)
	for i := range len(tag) {
		crc ^= uint16(tag[i]) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return int(crc) % clusterSlots
}

func bucketOf(id store.ID) int { return int(id[len(id)-1]) }

// A place is a bucket of an application. It names the bucket's keys.
type place struct {
	prefix string // the store's
	tail   string // ":{tag}:app"
}

func (s *Store) place(app string, bucket int) place {
	return place{s.prefix, ":{" + tags[bucket] + "}:" + escape(app)}
}

func (s *Store) placeOf(app string, id store.ID) place { return s.place(app, bucketOf(id)) }

func (p place) key(kind string) string { return p.prefix + kind + p.tail }

func (p place) mark() string     { return p.key(":mark") }     // the time of EndAll
func (p place) in() string       { return p.key(":in") }       // logged in sessions that have not ended, by creation
func (p place) anon() string     { return p.key(":anon") }     // anonymous ones
func (p place) due() string      { return p.key(":due") }      // all, with tombstones, by the time of their next sweep
func (p place) compared() string { return p.key(":compared") } // the progress of mending, see mend.go

// ended has what the bucket knows of a subject's ended sessions, by the time of
// their end. Scripts name it so too: remember in common.lua.
func (p place) ended(subject string) string {
	c := codec{}
	c.text(`,"subject`, &subject)
	sum := sha1.Sum(c.out) //nolint:gosec // shortens a name
	return p.key(":ended") + ":" + hex.EncodeToString(sum[:])
}

func (p place) session(id store.ID) string { return p.of(":s", id) }    // the record
func (p place) seen(id store.ID) string    { return p.of(":seen", id) } // the last touch since the record was written

// block is set if a write of this session, under the reservation or claim with
// this nonce, must not happen any more.
func (p place) block(id store.ID, nonce string) string { return p.of(":block", id) + ":" + nonce }

func (p place) of(kind string, id store.ID) string {
	b := make([]byte, 0, 128)
	b = append(b, p.prefix...)
	b = append(b, kind...)
	b = append(b, p.tail...)
	b = append(b, ':')
	b, _ = id.AppendText(b)
	return string(b)
}

// The keys of scripts about one session have one order: session_keys in
// common.lua names them.

// readKeys are the keys of a script that reads.
func (p place) readKeys(id store.ID) []string {
	return append(make([]string, 0, 9), p.session(id), p.seen(id), p.mark())
}

// endKeys are the keys of a script that may end the session, or bar its write.
func (p place) endKeys(id store.ID, nonce string) []string {
	return append(p.readKeys(id), p.in(), p.anon(), p.due(), p.gone(id), p.block(id, nonce))
}

// writeKeys are the keys of a script that may write the session at a revision.
func (p place) writeKeys(id store.ID, nonce string, revision uint64) []string {
	return append(p.endKeys(id, nonce), p.changed(id, revision))
}

func (p place) look(id store.ID, now store.Time) call {
	return lookScript.call(p.readKeys(id), "now", itoa(now))
}

// The keys changed, gone and goneAll exist for a moment only. Every feed learns
// that one was written; its name is the message.
func (p place) changed(id store.ID, revision uint64) string {
	return p.of(":feed", id) + fmt.Sprintf(":%016x", revision)
}
func (p place) gone(id store.ID) string { return p.of(":feed", id) + ":gone" } // sorts behind the revisions
func (p place) goneAll() string         { return p.key(":feed") + "::all" }

// A subjectPlace names the keys of a subject, which have a slot of their own.
type subjectPlace struct{ prefix, tail string }

func (s *Store) subjectPlace(app, subject string) subjectPlace {
	return subjectPlace{s.prefix, ":{" + escape(app) + "/" + escape(subject) + "}"}
}

func (p subjectPlace) members() string { return p.prefix + ":subject" + p.tail }
func (p subjectPlace) barrier() string { return p.prefix + ":barrier" + p.tail }

func (s *Store) claimKey(app, key string) string {
	return s.prefix + ":key:{" + escape(app) + "/" + escape(key) + "}"
}

func (s *Store) feedPrefix() string { return s.prefix + ":feed:" }

// escape makes a text a part of a key: distinct, readable, and without the
// characters that structure keys.
func escape(text string) string { return strings.ReplaceAll(url.PathEscape(text), ":", "%3A") }
