package arena

import (
	"encoding/binary"
	"errors"
	"math"
	"math/bits"
	"net/netip"
	"time"

	"github.com/sojourn-go/sojourn/store"
)

// A record is encoded as
//
//	flags     4 bytes
//	ID        16
//	last seen 5, the milliseconds since CreatedAt, so that a touch can be written in place
//	links     8, if linked: what the caller keeps with the record
//	app       and further fields, as variable-length integers or as they are, where flags say that they exist
//	values    the rest
//
// Times are differences from CreatedAt, which most often is the time in the ID and then
// costs nothing. All differences wrap, so that every Time has an encoding.
const (
	atID    = 4
	atSeen  = atID + 16
	atLinks = atSeen + 5
)

const (
	flagLinks       = 1 << iota
	flagCreatedInID // CreatedAt is the UUID's time
	flagSeenWide    // last seen doesn't fit in its 5 bytes
	flagIdleNanos   // Idle is not a whole number of milliseconds
	flagIdleSeconds
	flagExpiresSeconds // ExpiresAt is whole seconds after CreatedAt
	flagEnd
	flagSubject
	flagRemembered
	flagBearer
	flagStale
	flagLevel
	flagAuth        // AuthenticatedAt is not 0
	flagAuthCreated // AuthenticatedAt is CreatedAt
	flagHash
	flagEpochHash
	flagGood
	flagSpent
	flagSpentTill
	flagEpochs
	flagAMR
	flagSecretTimes // Secret is more than a hash
	flagSameIP
	flagSameAgent
	flagIP // the kind of address in two bits
	_
	flagLastIP
	_
	flagHalves
)

const (
	ipNone = iota
	ip4
	ip6
	ip6Zone
	ipMask = 3
)

// errCorrupt reports bytes that Encode didn't write.
var errCorrupt = errors.New("arena: corrupt record")

// Links are two numbers that the caller may keep with a record.
type Links struct{ Prev, Next uint32 }

// Encode appends rec to dst, as a record of the application with the number app. Without
// links they take no room. The strings of rec that t keeps stay in use until
// they are released (UsedStrings).
func Encode(dst []byte, t *Strings, app uint32, links *Links, rec *store.Record) []byte {
	start := len(dst)
	var flags uint32
	dst = append(dst, 0, 0, 0, 0)
	dst = append(dst, rec.ID[:]...)

	created := rec.CreatedAt
	seen := uint64(rec.LastSeenAt) - uint64(created)
	dst = append(dst, byte(seen), byte(seen>>8), byte(seen>>16), byte(seen>>24), byte(seen>>32))
	if links != nil {
		flags |= flagLinks
		dst = binary.LittleEndian.AppendUint32(dst, links.Prev)
		dst = binary.LittleEndian.AppendUint32(dst, links.Next)
	}
	dst = binary.AppendUvarint(dst, uint64(app))
	if seen >= 1<<40 {
		flags |= flagSeenWide
		dst = binary.AppendUvarint(dst, seen>>40)
	}
	if created == timeInID(rec.ID[:]) {
		flags |= flagCreatedInID
	} else {
		dst = binary.AppendVarint(dst, int64(created))
	}
	switch idle := rec.Idle; {
	case idle%time.Second == 0:
		flags |= flagIdleSeconds
		dst = binary.AppendVarint(dst, int64(idle/time.Second))
	case idle%time.Millisecond == 0:
		dst = binary.AppendVarint(dst, int64(idle/time.Millisecond))
	default:
		flags |= flagIdleNanos
		dst = binary.AppendVarint(dst, int64(idle))
	}
	if d := uint64(rec.ExpiresAt) - uint64(created); d%1000 == 0 {
		flags |= flagExpiresSeconds
		dst = binary.AppendUvarint(dst, d/1000)
	} else {
		dst = appendTime(dst, rec.ExpiresAt, created)
	}
	dst = binary.AppendUvarint(dst, rec.Revision)
	if rec.End != "" || rec.EndAt != 0 {
		flags |= flagEnd
		dst = appendReason(dst, rec.End)
		dst = appendTime(dst, rec.EndAt, created)
	}
	if rec.Subject != "" {
		flags |= flagSubject
		dst = appendBytes(dst, rec.Subject)
	}
	if rec.AMR != "" {
		flags |= flagAMR
		dst = t.appendString(dst, rec.AMR)
	}

	var kind uint32
	dst, kind = appendIP(dst, rec.Client.IP)
	flags |= kind * flagIP
	dst = t.appendString(dst, rec.Client.UserAgent)
	if rec.LastClient.IP == rec.Client.IP {
		flags |= flagSameIP
	} else {
		dst, kind = appendIP(dst, rec.LastClient.IP)
		flags |= kind * flagLastIP
	}
	if rec.LastClient.UserAgent == rec.Client.UserAgent {
		flags |= flagSameAgent
	} else {
		dst = t.appendString(dst, rec.LastClient.UserAgent)
	}

	dst = binary.AppendUvarint(dst, uint64(rec.Epoch))
	if rec.Remembered {
		flags |= flagRemembered
	}
	if rec.Bearer {
		flags |= flagBearer
	}
	if rec.Stale {
		flags |= flagStale
	}
	if rec.Level != 0 {
		flags |= flagLevel
		dst = append(dst, rec.Level)
	}
	switch rec.AuthenticatedAt {
	case 0:
	case created:
		flags |= flagAuth | flagAuthCreated
	default:
		flags |= flagAuth
		dst = appendTime(dst, rec.AuthenticatedAt, created)
	}
	if rec.Secret.Hash != (store.Hash{}) {
		flags |= flagHash
		dst = append(dst, rec.Secret.Hash[:]...)
	}
	if s := rec.Secret; s.IssuedAt != 0 || s.FirstSeenAt != 0 || s.ConfirmedAt != 0 || s.Until != 0 || s.Login {
		flags |= flagSecretTimes
		dst = appendSecretTimes(dst, &rec.Secret, created)
	}
	if rec.EpochHash != (store.Hash{}) {
		flags |= flagEpochHash
		dst = append(dst, rec.EpochHash[:]...)
	}
	if len(rec.Good) > 0 {
		flags |= flagGood
		dst = binary.AppendUvarint(dst, uint64(len(rec.Good)))
		for i := range rec.Good {
			dst = append(dst, rec.Good[i].Hash[:]...)
			dst = appendSecretTimes(dst, &rec.Good[i], created)
		}
	}
	if len(rec.Spent) > 0 {
		flags |= flagSpent
		dst = binary.AppendUvarint(dst, uint64(len(rec.Spent)))
		before := created
		for _, s := range rec.Spent {
			dst = append(dst, s.Print[:]...)
			dst = appendTime(dst, s.Until, before)
			before = s.Until
		}
	}
	if rec.SpentTill != 0 {
		flags |= flagSpentTill
		dst = appendTime(dst, rec.SpentTill, created)
	}
	if len(rec.Epochs) > 0 {
		flags |= flagEpochs
		dst = binary.AppendUvarint(dst, uint64(len(rec.Epochs)))
		for _, p := range rec.Epochs {
			dst = append(dst, p[:]...)
		}
	}
	if len(rec.Halves) > 0 {
		flags |= flagHalves
		dst = binary.AppendUvarint(dst, uint64(len(rec.Halves)))
		for _, p := range rec.Halves {
			dst = append(dst, p[:]...)
		}
	}
	dst = append(dst, rec.Values...)
	binary.LittleEndian.PutUint32(dst[start:], flags)
	return dst
}

// A secret's times, with a byte that says which there are.
const (
	secretLogin = 1 << iota
	secretIssuedZero
	secretIssuedCreated
	secretFirst
	secretFirstIssued
	secretConfirmed
	secretConfirmedIssued
	secretUntil
)

func appendSecretTimes(dst []byte, s *store.Secret, created store.Time) []byte {
	at := len(dst)
	var flags byte
	dst = append(dst, 0)
	if s.Login {
		flags |= secretLogin
	}
	switch s.IssuedAt {
	case 0:
		flags |= secretIssuedZero
	case created:
		flags |= secretIssuedCreated
	default:
		dst = appendTime(dst, s.IssuedAt, created)
	}
	switch s.FirstSeenAt {
	case 0:
	case s.IssuedAt:
		flags |= secretFirst | secretFirstIssued
	default:
		flags |= secretFirst
		dst = appendTime(dst, s.FirstSeenAt, s.IssuedAt)
	}
	switch s.ConfirmedAt {
	case 0:
	case s.IssuedAt:
		flags |= secretConfirmed | secretConfirmedIssued
	default:
		flags |= secretConfirmed
		dst = appendTime(dst, s.ConfirmedAt, s.IssuedAt)
	}
	if s.Until != 0 {
		flags |= secretUntil
		dst = appendTime(dst, s.Until, s.IssuedAt)
	}
	dst[at] = flags
	return dst
}

func appendTime(dst []byte, t, base store.Time) []byte {
	return binary.AppendVarint(dst, int64(t-base))
}

func appendBytes(dst []byte, s string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(s)))
	return append(dst, s...)
}

// appendString appends a string that many records share: 0 for the empty one, 1 and the string where t has
// no room, else its number and two.
func (t *Strings) appendString(dst []byte, s string) []byte {
	if s == "" {
		return append(dst, 0)
	}
	if id, ok := t.acquire(s); ok {
		return binary.AppendUvarint(dst, uint64(id)+2)
	}
	return appendBytes(append(dst, 1), s)
}

func appendIP(dst []byte, ip netip.Addr) ([]byte, uint32) {
	switch {
	case !ip.IsValid():
		return dst, ipNone
	case ip.Is4():
		b := ip.As4()
		return append(dst, b[:]...), ip4
	}
	b := ip.As16()
	dst = append(dst, b[:]...)
	if zone := ip.Zone(); zone != "" {
		return appendBytes(dst, zone), ip6Zone
	}
	return dst, ip6
}

var reasons = [...]store.Reason{"", store.ReasonLogout, store.ReasonRevoked, store.ReasonIdle,
	store.ReasonAbsolute, store.ReasonEvicted, store.ReasonTheft}

func appendReason(dst []byte, r store.Reason) []byte {
	for i, known := range reasons {
		if r == known {
			return append(dst, byte(i))
		}
	}
	return appendBytes(append(dst, 255), string(r))
}

func timeInID(id []byte) store.Time {
	return store.Time(uint64(id[0])<<40 | uint64(id[1])<<32 | uint64(id[2])<<24 | uint64(id[3])<<16 | uint64(id[4])<<8 | uint64(id[5]))
}

// A Head is what the beginning of a record says: enough to judge whether it is live, and whose it is.
type Head struct {
	Flags      uint32
	App        uint32
	CreatedAt  store.Time
	LastSeenAt store.Time
	Idle       time.Duration
	ExpiresAt  store.Time
	Revision   uint64
	End        store.Reason
	EndAt      store.Time
	Subject    []byte // a part of the record

	rest reader
}

// Ended reports whether the record is a tombstone.
func (h *Head) Ended() bool { return h.Flags&flagEnd != 0 }

// Linked reports whether the record has links.
func (h *Head) Linked() bool { return h.Flags&flagLinks != 0 }

// ExpiredAt is as of store.Record.
func (h *Head) ExpiredAt(now store.Time) (store.Reason, store.Time) {
	r := store.Record{LastSeenAt: h.LastSeenAt, Idle: h.Idle, ExpiresAt: h.ExpiresAt}
	return r.ExpiredAt(now)
}

// IDOf returns the ID of a record.
func IDOf(b []byte) *store.ID { return (*store.ID)(b[atID:]) }

// LinksOf returns the links of a record that has some.
func LinksOf(b []byte) Links {
	return Links{binary.LittleEndian.Uint32(b[atLinks:]), binary.LittleEndian.Uint32(b[atLinks+4:])}
}

// SetLinks changes the links of a record that has some, in place.
func SetLinks(b []byte, l Links) {
	binary.LittleEndian.PutUint32(b[atLinks:], l.Prev)
	binary.LittleEndian.PutUint32(b[atLinks+4:], l.Next)
}

// SetLastSeen changes LastSeenAt in place, if it can.
func SetLastSeen(b []byte, h *Head, at store.Time) bool {
	seen := uint64(at) - uint64(h.CreatedAt)
	if h.Flags&flagSeenWide != 0 || seen >= 1<<40 {
		return false
	}
	binary.LittleEndian.PutUint32(b[atSeen:], uint32(seen))
	b[atSeen+4] = byte(seen >> 32)
	h.LastSeenAt = at
	return true
}

// LastClientIs reports whether the record of h has c as its LastClient.
func (h *Head) LastClientIs(t *Strings, c *store.Client) bool {
	_, last, ok := h.clients(t)
	return ok && last == *c
}

// LastClient returns the record's LastClient.
func (h *Head) LastClient(t *Strings) store.Client {
	_, last, _ := h.clients(t)
	return last
}

func (h *Head) clients(t *Strings) (first, last store.Client, ok bool) {
	r := h.rest
	if h.Flags&flagAMR != 0 {
		r.string(t)
	}
	first, last = r.clients(h.Flags, t)
	return first, last, !r.bad
}

// UsedStrings appends the numbers of the strings, at most three, that a record uses.
func UsedStrings(dst []uint32, b []byte) []uint32 {
	var h Head
	if !Peek(b, &h) {
		return dst
	}
	r := h.rest
	if h.Flags&flagAMR != 0 {
		dst = r.stringNumber(dst)
	}
	r.ip(h.Flags / flagIP)
	dst = r.stringNumber(dst)
	if h.Flags&flagSameIP == 0 {
		r.ip(h.Flags / flagLastIP)
	}
	if h.Flags&flagSameAgent == 0 {
		dst = r.stringNumber(dst)
	}
	return dst
}

func (r *reader) stringNumber(dst []uint32) []uint32 {
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

// Peek reads the head of a record. It reports false for bytes that Encode didn't write.
func Peek(b []byte, h *Head) bool {
	if len(b) < atLinks {
		return false
	}
	h.Flags = binary.LittleEndian.Uint32(b)
	r := reader{b: b[atLinks:]}
	if h.Flags&flagLinks != 0 {
		r.take(8)
	}
	h.App = uint32(r.uvarint())
	seen := uint64(binary.LittleEndian.Uint32(b[atSeen:])) | uint64(b[atSeen+4])<<32
	if h.Flags&flagSeenWide != 0 {
		seen |= r.uvarint() << 40
	}
	if h.Flags&flagCreatedInID != 0 {
		h.CreatedAt = timeInID(b[atID:atSeen])
	} else {
		h.CreatedAt = store.Time(r.varint())
	}
	h.LastSeenAt = store.Time(uint64(h.CreatedAt) + seen)
	h.Idle = time.Duration(r.varint())
	switch {
	case h.Flags&flagIdleSeconds != 0:
		h.Idle *= time.Second
	case h.Flags&flagIdleNanos == 0:
		h.Idle *= time.Millisecond
	}
	if h.Flags&flagExpiresSeconds != 0 {
		h.ExpiresAt = store.Time(uint64(h.CreatedAt) + r.uvarint()*1000)
	} else {
		h.ExpiresAt = r.time(h.CreatedAt)
	}
	h.Revision = r.uvarint()
	h.End, h.EndAt = "", 0
	if h.Flags&flagEnd != 0 {
		h.End = r.reason()
		h.EndAt = r.time(h.CreatedAt)
	}
	h.Subject = nil
	if h.Flags&flagSubject != 0 {
		h.Subject = r.bytes()
	}
	h.rest = r
	return !r.bad
}

// AppOf returns the application's number of a record.
func AppOf(b []byte) uint32 {
	at := atLinks
	if b[0]&flagLinks != 0 {
		at += 8
	}
	if b[at] < 0x80 {
		return uint32(b[at])
	}
	n, _ := binary.Uvarint(b[at:])
	return uint32(n)
}

// Decode fills rec, reusing the capacity of its slices. It allocates the subject and nothing
// else, if the slices have room and the other strings are in t. rec shares no memory with b.
func Decode(b []byte, t *Strings, rec *store.Record) error {
	values, err := DecodeHead(b, t, rec)
	if err == nil {
		rec.Values = append(rec.Values, values...)
	}
	return err
}

// DecodeHead is Decode without the values: rec has none, and DecodeHead returns
// them as a part of b.
func DecodeHead(b []byte, t *Strings, rec *store.Record) (values store.Values, err error) {
	var h Head
	if !Peek(b, &h) {
		return nil, errCorrupt
	}
	r := h.rest
	rec.ID = store.ID(b[atID:atSeen])
	rec.Revision = h.Revision
	if rec.Subject != string(h.Subject) {
		rec.Subject = string(h.Subject)
	}
	rec.CreatedAt, rec.LastSeenAt, rec.Idle, rec.ExpiresAt = h.CreatedAt, h.LastSeenAt, h.Idle, h.ExpiresAt
	rec.End, rec.EndAt = h.End, h.EndAt
	rec.Cached = false
	rec.AMR = ""
	if h.Flags&flagAMR != 0 {
		rec.AMR = r.string(t)
	}
	rec.Client, rec.LastClient = r.clients(h.Flags, t)

	rec.Epoch = uint32(r.uvarint())
	rec.Remembered = h.Flags&flagRemembered != 0
	rec.Bearer = h.Flags&flagBearer != 0
	rec.Stale = h.Flags&flagStale != 0
	rec.Level = 0
	if h.Flags&flagLevel != 0 {
		if p := r.take(1); p != nil {
			rec.Level = p[0]
		}
	}
	switch {
	case h.Flags&flagAuth == 0:
		rec.AuthenticatedAt = 0
	case h.Flags&flagAuthCreated != 0:
		rec.AuthenticatedAt = h.CreatedAt
	default:
		rec.AuthenticatedAt = r.time(h.CreatedAt)
	}
	rec.Secret = store.Secret{}
	if h.Flags&flagHash != 0 {
		r.fill(rec.Secret.Hash[:])
	}
	if h.Flags&flagSecretTimes != 0 {
		r.secretTimes(&rec.Secret, h.CreatedAt)
	}
	rec.EpochHash = store.Hash{}
	if h.Flags&flagEpochHash != 0 {
		r.fill(rec.EpochHash[:])
	}

	rec.Good = rec.Good[:0]
	if h.Flags&flagGood != 0 {
		for n := r.uvarint(); n > 0 && !r.bad; n-- {
			var s store.Secret
			r.fill(s.Hash[:])
			r.secretTimes(&s, h.CreatedAt)
			rec.Good = append(rec.Good, s)
		}
	}
	rec.Spent = rec.Spent[:0]
	if h.Flags&flagSpent != 0 {
		before := h.CreatedAt
		for n := r.uvarint(); n > 0 && !r.bad; n-- {
			var s store.Spent
			r.fill(s.Print[:])
			s.Until = r.time(before)
			before = s.Until
			rec.Spent = append(rec.Spent, s)
		}
	}
	rec.SpentTill = 0
	if h.Flags&flagSpentTill != 0 {
		rec.SpentTill = r.time(h.CreatedAt)
	}
	rec.Epochs = rec.Epochs[:0]
	if h.Flags&flagEpochs != 0 {
		for n := r.uvarint(); n > 0 && !r.bad; n-- {
			var p store.Fingerprint
			r.fill(p[:])
			rec.Epochs = append(rec.Epochs, p)
		}
	}
	rec.Halves = rec.Halves[:0]
	if h.Flags&flagHalves != 0 {
		for n := r.uvarint(); n > 0 && !r.bad; n-- {
			var p store.Fingerprint
			r.fill(p[:])
			rec.Halves = append(rec.Halves, p)
		}
	}
	if r.bad {
		return nil, errCorrupt
	}
	rec.Values = rec.Values[:0]
	return r.b, nil
}

// A reader takes fields off the front of b. After a field that isn't there it is bad, and
// gives zeros.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) fail() {
	r.b, r.bad = nil, true
}

func (r *reader) take(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.fail()
		return nil
	}
	p := r.b[:n]
	r.b = r.b[n:]
	return p
}

func (r *reader) fill(p []byte) { copy(p, r.take(uint64(len(p)))) }

func (r *reader) bytes() []byte { return r.take(r.uvarint()) }

func (r *reader) uvarint() uint64 {
	if len(r.b) > 0 && r.b[0] < 0x80 {
		n := uint64(r.b[0])
		r.b = r.b[1:]
		return n
	}
	return r.longUvarint()
}

func (r *reader) longUvarint() uint64 {
	if len(r.b) >= 8 {
		// The bytes without a set highest bit are ends; all up to the first one are the number.
		x := binary.LittleEndian.Uint64(r.b)
		if ends := ^x & 0x8080808080808080; ends != 0 {
			r.b = r.b[bits.TrailingZeros64(ends)/8+1:]
			x &= ends ^ (ends - 1)
			x = x&0x007f007f007f007f | x&0x7f007f007f007f00>>1
			x = x&0x00003fff00003fff | x&0x3fff00003fff0000>>2
			return x&0x000000000fffffff | x&0x0fffffff00000000>>4
		}
	}
	n, w := binary.Uvarint(r.b)
	if w <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[w:]
	return n
}

func (r *reader) varint() int64 {
	n := r.uvarint()
	return int64(n>>1) ^ -int64(n&1)
}

func (r *reader) time(base store.Time) store.Time { return base + store.Time(r.varint()) }

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

func (r *reader) reason() store.Reason {
	p := r.take(1)
	switch {
	case p == nil:
		return ""
	case p[0] == 255:
		return store.Reason(r.bytes())
	case int(p[0]) >= len(reasons):
		r.fail()
		return ""
	}
	return reasons[p[0]]
}

func (r *reader) clients(flags uint32, t *Strings) (first, last store.Client) {
	first.IP = r.ip(flags / flagIP)
	first.UserAgent = r.string(t)
	last = first
	if flags&flagSameIP == 0 {
		last.IP = r.ip(flags / flagLastIP)
	}
	if flags&flagSameAgent == 0 {
		last.UserAgent = r.string(t)
	}
	return first, last
}

func (r *reader) ip(kind uint32) netip.Addr {
	switch kind & ipMask {
	case ip4:
		var b [4]byte
		r.fill(b[:])
		return netip.AddrFrom4(b)
	case ip6, ip6Zone:
		var b [16]byte
		r.fill(b[:])
		ip := netip.AddrFrom16(b)
		if kind&ipMask == ip6Zone {
			ip = ip.WithZone(string(r.bytes()))
		}
		return ip
	}
	return netip.Addr{}
}

func (r *reader) secretTimes(s *store.Secret, created store.Time) {
	p := r.take(1)
	if p == nil {
		return
	}
	flags := p[0]
	s.Login = flags&secretLogin != 0
	switch {
	case flags&secretIssuedZero != 0:
	case flags&secretIssuedCreated != 0:
		s.IssuedAt = created
	default:
		s.IssuedAt = r.time(created)
	}
	switch {
	case flags&secretFirst == 0:
	case flags&secretFirstIssued != 0:
		s.FirstSeenAt = s.IssuedAt
	default:
		s.FirstSeenAt = r.time(s.IssuedAt)
	}
	switch {
	case flags&secretConfirmed == 0:
	case flags&secretConfirmedIssued != 0:
		s.ConfirmedAt = s.IssuedAt
	default:
		s.ConfirmedAt = r.time(s.IssuedAt)
	}
	if flags&secretUntil != 0 {
		s.Until = r.time(s.IssuedAt)
	}
}
