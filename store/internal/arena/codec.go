package arena

import (
	"encoding/binary"
	"errors"
	"math"
	"net/netip"
	"time"

	"github.com/sojourn-go/sojourn/store"
)

// The beginning of an encoded record: flags, the ID, and LastSeenAt in full, so
// that a touch can change it in place. The other fields follow in the order of
// Encode. Most times are differences from CreatedAt, which usually is the time
// in the ID and then costs nothing. Differences wrap, so that every time has an
// encoding.
const (
	atID   = 2
	atSeen = atID + 16
	atRest = atSeen + 8
)

const (
	flagCreatedInID = 1 << iota // CreatedAt is the time of the UUID
	flagIdleSeconds             // Idle is in seconds, not in nanoseconds
	flagEnded
	flagSameClient // LastClient is Client
	flagRemembered
	flagBearer
	flagStale
	flagSecret    // Secret is not zero
	flagLogin     // Secret.Login
	flagEpochHash // EpochHash is not zero
	flagFormer    // there are former secrets
	flagUntilBrowserCloses
	flagBinding // Binding is not empty
)

func flagsOf(rec *store.Record) uint16 {
	var flags uint16
	set := func(flag uint16, is bool) {
		if is {
			flags |= flag
		}
	}
	set(flagCreatedInID, rec.CreatedAt == timeInID(&rec.ID))
	set(flagIdleSeconds, rec.Idle%time.Second == 0)
	set(flagEnded, rec.End != "" || rec.EndAt != 0)
	set(flagSameClient, rec.LastClient == rec.Client)
	set(flagRemembered, rec.Remembered)
	set(flagBearer, rec.Bearer)
	set(flagStale, rec.Stale)
	set(flagUntilBrowserCloses, rec.UntilBrowserCloses)
	set(flagBinding, len(rec.Binding) > 0)
	set(flagSecret, rec.Secret != store.Secret{})
	set(flagLogin, rec.Secret.Login)
	set(flagEpochHash, rec.EpochHash != store.Hash{})
	set(flagFormer, len(rec.Good)+len(rec.Spent)+len(rec.Epochs)+len(rec.Halves) > 0 || rec.SpentTill != 0)
	return flags
}

// Encode appends rec to dst, as a record of the application with the number
// app. The strings of rec that t keeps are in use until they are released
// (UsedStrings).
func Encode(dst []byte, t *Strings, app uint32, rec *store.Record) []byte {
	flags := flagsOf(rec)
	dst = binary.LittleEndian.AppendUint16(dst, flags)
	dst = append(dst, rec.ID[:]...)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(rec.LastSeenAt))

	// What Peek reads.
	dst = binary.AppendUvarint(dst, uint64(app))
	if flags&flagCreatedInID == 0 {
		dst = binary.AppendVarint(dst, int64(rec.CreatedAt))
	}
	if flags&flagIdleSeconds != 0 {
		dst = binary.AppendVarint(dst, int64(rec.Idle/time.Second))
	} else {
		dst = binary.AppendVarint(dst, int64(rec.Idle))
	}
	dst = appendTime(dst, rec.ExpiresAt, rec.CreatedAt)
	dst = binary.AppendUvarint(dst, rec.Revision)
	if flags&flagEnded != 0 {
		dst = appendTime(dst, rec.EndAt, rec.CreatedAt)
	}
	dst = appendBytes(dst, rec.Subject)

	// What UsedStrings reads.
	if flags&flagEnded != 0 {
		dst = t.appendString(dst, string(rec.End))
	}
	dst = t.appendString(dst, rec.AMR)
	dst = t.appendClient(dst, &rec.Client)
	if flags&flagSameClient == 0 {
		dst = t.appendClient(dst, &rec.LastClient)
	}

	dst = append(dst, rec.Level)
	dst = binary.AppendUvarint(dst, uint64(rec.Epoch))
	dst = appendTime(dst, rec.AuthenticatedAt, rec.CreatedAt)
	if flags&flagSecret != 0 {
		dst = appendSecret(dst, &rec.Secret, rec.CreatedAt)
	}
	if flags&flagEpochHash != 0 {
		dst = append(dst, rec.EpochHash[:]...)
	}
	if flags&flagFormer != 0 {
		dst = appendFormer(dst, rec)
	}
	if flags&flagBinding != 0 {
		dst = appendBytes(dst, rec.Binding)
	}
	return appendBytes(dst, rec.Values)
}

func appendSecret(dst []byte, s *store.Secret, created store.Time) []byte {
	dst = append(dst, s.Hash[:]...)
	dst = appendTime(dst, s.IssuedAt, created)
	dst = appendTime(dst, s.FirstSeenAt, s.IssuedAt)
	dst = appendTime(dst, s.ConfirmedAt, s.IssuedAt)
	return appendTime(dst, s.Until, s.IssuedAt)
}

func appendFormer(dst []byte, rec *store.Record) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(rec.Good)))
	for i := range rec.Good {
		var login byte
		if rec.Good[i].Login {
			login = 1
		}
		dst = appendSecret(append(dst, login), &rec.Good[i], rec.CreatedAt)
	}
	dst = binary.AppendUvarint(dst, uint64(len(rec.Spent)))
	before := rec.CreatedAt
	for _, s := range rec.Spent {
		dst = appendTime(append(dst, s.Print[:]...), s.Until, before)
		before = s.Until
	}
	dst = appendTime(dst, rec.SpentTill, rec.CreatedAt)
	for _, prints := range [][]store.Fingerprint{rec.Epochs, rec.Halves} {
		dst = binary.AppendUvarint(dst, uint64(len(prints)))
		for _, p := range prints {
			dst = append(dst, p[:]...)
		}
	}
	return dst
}

// appendTime appends 0 for the time 0, which most optional times are, else the
// difference from base, plus 1. Where that is 0 too, because the sum overflows,
// it appends the number that the time 0 would otherwise have.
func appendTime(dst []byte, t, base store.Time) []byte {
	var n uint64
	if t != 0 {
		n = zigzag(t-base) + 1
		if n == 0 {
			n = zigzag(-base) + 1
		}
	}
	return binary.AppendUvarint(dst, n)
}

func zigzag(t store.Time) uint64 { return uint64(t<<1) ^ uint64(t>>63) }

func appendBytes[Text ~string | ~[]byte](dst []byte, s Text) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

func (t *Strings) appendClient(dst []byte, c *store.Client) []byte {
	at := len(dst)
	dst, _ = c.IP.AppendBinary(append(dst, 0)) // never fails
	if n := len(dst) - at - 1; n < 0x80 {
		dst[at] = byte(n)
	} else { // a long zone
		ip := string(dst[at+1:])
		dst = appendBytes(dst[:at], ip)
	}
	return t.appendString(dst, c.UserAgent)
}

// appendString appends a string that many records share: 0 for the empty one, 1
// and the string if t has no room, else its number and 2.
func (t *Strings) appendString(dst []byte, s string) []byte {
	if s == "" {
		return append(dst, 0)
	}
	if id, ok := t.acquire(s); ok {
		return binary.AppendUvarint(dst, uint64(id)+2)
	}
	return appendBytes(append(dst, 1), s)
}

func timeInID(id *store.ID) store.Time {
	return store.Time(binary.BigEndian.Uint64(id[:8]) >> 16)
}

// IDOf returns the ID of a record.
func IDOf(b []byte) *store.ID { return (*store.ID)(b[atID:]) }

// AppOf returns the number of a record's application.
func AppOf(b []byte) uint32 {
	r := reader{b: b, at: atRest}
	return uint32(r.uvarint())
}

// A Head is what must be known of a record to judge whether it is live, and
// whose it is.
type Head struct {
	App        uint32
	CreatedAt  store.Time
	LastSeenAt store.Time
	Idle       time.Duration
	ExpiresAt  store.Time
	Revision   uint64
	EndAt      store.Time
	Subject    []byte // a part of the record: valid as long as the record's bytes

	flags uint16
	rest  reader
}

// Ended reports whether the record is a tombstone.
func (h *Head) Ended() bool { return h.flags&flagEnded != 0 }

// ExpiredAt is like that of [store.Record].
func (h *Head) ExpiredAt(now store.Time) (store.Reason, store.Time) {
	r := store.Record{LastSeenAt: h.LastSeenAt, Idle: h.Idle, ExpiresAt: h.ExpiresAt}
	return r.ExpiredAt(now)
}

// Peek reads the head of a record. It returns false if Encode did not write b.
func Peek(b []byte, h *Head) bool {
	if len(b) < atRest {
		return false
	}
	h.flags = binary.LittleEndian.Uint16(b)
	h.LastSeenAt = store.Time(binary.LittleEndian.Uint64(b[atSeen:]))
	r := reader{b: b, at: atRest}
	h.App = uint32(r.uvarint())
	if h.flags&flagCreatedInID != 0 {
		h.CreatedAt = timeInID(IDOf(b))
	} else {
		h.CreatedAt = store.Time(r.varint())
	}
	h.Idle = time.Duration(r.varint())
	if h.flags&flagIdleSeconds != 0 {
		h.Idle *= time.Second
	}
	h.ExpiresAt = r.time(h.CreatedAt)
	h.Revision = r.uvarint()
	h.EndAt = 0
	if h.flags&flagEnded != 0 {
		h.EndAt = r.time(h.CreatedAt)
	}
	h.Subject = r.bytes()
	h.rest = r
	return !r.bad
}

// SetLastSeen changes the LastSeenAt of a record in place.
func SetLastSeen(b []byte, at store.Time) {
	binary.LittleEndian.PutUint64(b[atSeen:], uint64(at))
}

// LastClient returns the LastClient of a record.
func (h *Head) LastClient(t *Strings) store.Client {
	r := h.rest
	if h.Ended() {
		r.string(t)
	}
	r.string(t)
	client := r.client(t)
	if h.flags&flagSameClient == 0 {
		client = r.client(t)
	}
	return client
}

// maxUsed is the most strings that a record uses.
const maxUsed = 4

// UsedStrings appends the numbers of the strings that a record uses.
func UsedStrings(dst []uint32, b []byte) []uint32 {
	var h Head
	if !Peek(b, &h) {
		return dst
	}
	r := h.rest
	if h.Ended() {
		dst = r.number(dst)
	}
	dst = r.number(dst)
	r.bytes()
	dst = r.number(dst)
	if h.flags&flagSameClient == 0 {
		r.bytes()
		dst = r.number(dst)
	}
	return dst
}

// Decode fills rec, and reuses the capacity of its slices. If these have room
// and t has the strings, it allocates only the subject. rec shares no memory
// with b.
func Decode(b []byte, t *Strings, rec *store.Record) error {
	values, err := DecodeHead(b, t, rec)
	if err == nil {
		rec.Values = append(rec.Values, values...)
	}
	return err
}

var errCorrupt = errors.New("arena: corrupt record")

// DecodeHead is Decode without the values: rec.Values is empty. DecodeHead
// returns the values as a part of b.
func DecodeHead(b []byte, t *Strings, rec *store.Record) (store.Values, error) {
	var h Head
	if !Peek(b, &h) {
		return nil, errCorrupt
	}
	r := h.rest
	rec.ID, rec.Revision, rec.CreatedAt = *IDOf(b), h.Revision, h.CreatedAt
	rec.LastSeenAt, rec.Idle, rec.ExpiresAt = h.LastSeenAt, h.Idle, h.ExpiresAt
	if rec.Subject != string(h.Subject) {
		rec.Subject = string(h.Subject)
	}
	rec.End, rec.EndAt = "", h.EndAt
	if h.Ended() {
		rec.End = store.Reason(r.string(t))
	}
	rec.AMR = r.string(t)
	rec.Client = r.client(t)
	rec.LastClient = rec.Client
	if h.flags&flagSameClient == 0 {
		rec.LastClient = r.client(t)
	}

	rec.Remembered = h.flags&flagRemembered != 0
	rec.Bearer = h.flags&flagBearer != 0
	rec.Stale = h.flags&flagStale != 0
	rec.UntilBrowserCloses = h.flags&flagUntilBrowserCloses != 0
	rec.Cached = false
	rec.Level = r.byte()
	rec.Epoch = uint32(r.uvarint())
	rec.AuthenticatedAt = r.time(h.CreatedAt)
	rec.Secret = store.Secret{}
	if h.flags&flagSecret != 0 {
		r.secret(&rec.Secret, h.CreatedAt)
		rec.Secret.Login = h.flags&flagLogin != 0
	}
	rec.EpochHash = store.Hash{}
	if h.flags&flagEpochHash != 0 {
		r.fill(rec.EpochHash[:])
	}
	rec.Good, rec.Spent, rec.SpentTill = rec.Good[:0], rec.Spent[:0], 0
	rec.Epochs, rec.Halves = rec.Epochs[:0], rec.Halves[:0]
	if h.flags&flagFormer != 0 {
		r.former(rec)
	}
	rec.Binding = rec.Binding[:0]
	if h.flags&flagBinding != 0 {
		rec.Binding = append(rec.Binding, r.bytes()...)
	}
	rec.Values = rec.Values[:0]
	values := r.bytes()
	if r.bad {
		return nil, errCorrupt
	}
	return values, nil
}

// A reader takes fields from b, beginning at at. It moves at and not b, because a
// write of a pointer costs more while the collector runs. After a field that is
// not there it is bad and returns zeros.
type reader struct {
	b   []byte
	at  int
	bad bool
}

func (r *reader) fail() { r.at, r.bad = len(r.b), true }

func (r *reader) take(n uint64) []byte {
	if n > uint64(len(r.b)-r.at) {
		r.fail()
		return nil
	}
	p := r.b[r.at : r.at+int(n)]
	r.at += int(n)
	return p
}

func (r *reader) fill(p []byte) { copy(p, r.take(uint64(len(p)))) }

func (r *reader) bytes() []byte { return r.take(r.uvarint()) }

func (r *reader) byte() byte {
	if p := r.take(1); p != nil {
		return p[0]
	}
	return 0
}

func (r *reader) uvarint() uint64 {
	if r.at < len(r.b) && r.b[r.at] < 0x80 {
		n := uint64(r.b[r.at])
		r.at++
		return n
	}
	n, w := binary.Uvarint(r.b[r.at:])
	if w <= 0 {
		r.fail()
		return 0
	}
	r.at += w
	return n
}

func (r *reader) varint() int64 {
	n := r.uvarint()
	return int64(n>>1) ^ -int64(n&1)
}

// time reads what appendTime wrote. Most times are none, or base.
func (r *reader) time(base store.Time) store.Time {
	if r.at < len(r.b) && r.b[r.at] <= 1 && base != 0 {
		t := base * store.Time(r.b[r.at])
		r.at++
		return t
	}
	return r.otherTime(base)
}

func (r *reader) otherTime(base store.Time) store.Time {
	n := r.uvarint()
	switch {
	case n == 0:
		return 0
	case n == zigzag(-base)+1:
		return base + math.MinInt64
	}
	n--
	return base + store.Time(int64(n>>1)^-int64(n&1))
}

func (r *reader) string(t *Strings) string {
	switch n := r.uvarint(); {
	case n == 0:
		return ""
	case n == 1:
		return string(r.bytes())
	case n-2 > math.MaxUint32:
		r.fail()
		return ""
	default:
		s, ok := t.get(uint32(n - 2))
		if !ok {
			r.fail()
		}
		return s
	}
}

// number appends the number of a string that t keeps.
func (r *reader) number(dst []uint32) []uint32 {
	switch n := r.uvarint(); n {
	case 0:
	case 1:
		r.bytes()
	default:
		if !r.bad {
			dst = append(dst, uint32(n-2))
		}
	}
	return dst
}

func (r *reader) client(t *Strings) (c store.Client) {
	switch ip := r.bytes(); len(ip) {
	case 0:
	case 4:
		c.IP = netip.AddrFrom4([4]byte(ip))
	case 16:
		c.IP = netip.AddrFrom16([16]byte(ip))
	default:
		if c.IP.UnmarshalBinary(ip) != nil {
			r.fail()
		}
	}
	c.UserAgent = r.string(t)
	return c
}

func (r *reader) secret(s *store.Secret, created store.Time) {
	r.fill(s.Hash[:])
	s.IssuedAt = r.time(created)
	s.FirstSeenAt = r.time(s.IssuedAt)
	s.ConfirmedAt = r.time(s.IssuedAt)
	s.Until = r.time(s.IssuedAt)
}

func (r *reader) former(rec *store.Record) {
	for n := r.uvarint(); n > 0 && !r.bad; n-- {
		s := store.Secret{Login: r.byte() != 0}
		r.secret(&s, rec.CreatedAt)
		rec.Good = append(rec.Good, s)
	}
	before := rec.CreatedAt
	for n := r.uvarint(); n > 0 && !r.bad; n-- {
		var s store.Spent
		r.fill(s.Print[:])
		s.Until = r.time(before)
		before = s.Until
		rec.Spent = append(rec.Spent, s)
	}
	rec.SpentTill = r.time(rec.CreatedAt)
	rec.Epochs = r.prints(rec.Epochs)
	rec.Halves = r.prints(rec.Halves)
}

func (r *reader) prints(dst []store.Fingerprint) []store.Fingerprint {
	for n := r.uvarint(); n > 0 && !r.bad; n-- {
		var p store.Fingerprint
		r.fill(p[:])
		dst = append(dst, p)
	}
	return dst
}
