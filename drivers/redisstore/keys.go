package redisstore

import (
	"strconv"
	"strings"

	"github.com/sojourn-go/sojourn/store"
)

// Sessions lie in buckets, by the last byte of their ID, which is random. All keys of a bucket have its tag, so that a
// Redis Cluster keeps them on one node, and one script changes a session, what finds it, and what guards it, in one step.
const buckets = 256

// tags are numbers whose slots are spread evenly over the slots of a Redis Cluster, so that its nodes share the buckets
// evenly whichever ranges of slots they have.
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

// slotOf returns the slot of a hash tag: its CRC16 (XMODEM), see the specification of Redis Cluster.
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

// A place is a bucket of an application: the names of its keys.
type place struct {
	prefix string // the store's
	tail   string // ":{tag}:app"
}

func (s *Store) place(app string, bucket int) place {
	return place{s.prefix, ":{" + tags[bucket] + "}:" + escape(app)}
}

func (s *Store) placeOf(app string, id store.ID) place { return s.place(app, bucketOf(id)) }

func (p place) key(kind string) string { return p.prefix + kind + p.tail }

func (p place) mark() string { return p.key(":mark") } // the time of EndAll
func (p place) in() string   { return p.key(":in") }   // logged in sessions that have not ended, by creation
func (p place) anon() string { return p.key(":anon") } // anonymous ones
func (p place) due() string  { return p.key(":due") }  // all, tombstones too, by the time when the sweep must look

func (p place) session(id store.ID) string { return p.of(":s", id) }    // the record
func (p place) seen(id store.ID) string    { return p.of(":seen", id) } // the last touch since the record was written

// block is there where a write of this session, under a reservation or claim with this nonce, must not happen any more.
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

// Keys with these names never last. That one was written tells every feed that listens what changed, by the name.
func (p place) changed(id store.ID, revision uint64) string {
	const digits = 16
	hex := strconv.FormatUint(revision, 16)
	return p.of(":feed", id) + ":" + strings.Repeat("0", digits-len(hex)) + hex
}
func (p place) gone(id store.ID) string { return p.of(":feed", id) + ":gone" } // sorts after the revisions
func (p place) goneAll() string         { return p.key(":feed") + "::all" }

// A subjectPlace names what is kept of a subject, in a slot of its own.
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

// escape makes any text a part of a key that is distinct, readable, and free of what has a meaning in keys.
func escape(text string) string {
	plain := true
	for i := range len(text) {
		plain = plain && isPlain(text[i])
	}
	if plain {
		return text
	}
	b := make([]byte, 0, 3*len(text))
	for i := range len(text) {
		if c := text[i]; isPlain(c) {
			b = append(b, c)
		} else {
			b = append(b, '%', upperHex[c>>4], upperHex[c&15])
		}
	}
	return string(b)
}

const upperHex = "0123456789ABCDEF"

func isPlain(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~@+", c) >= 0
}

// unescape is the reverse of escape.
func unescape(text string) (string, bool) {
	if strings.IndexByte(text, '%') < 0 {
		return text, true
	}
	b := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		if text[i] != '%' {
			b = append(b, text[i])
			continue
		}
		if i+2 >= len(text) {
			return "", false
		}
		n, err := strconv.ParseUint(text[i+1:i+3], 16, 8)
		if err != nil {
			return "", false
		}
		b = append(b, byte(n))
		i += 2
	}
	return string(b), true
}
