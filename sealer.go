package sojourn

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"time"

	"github.com/sojourn-go/sojourn/store"
)

// A sealer turns records into the texts of sealed sessions, and back.
type sealer struct {
	opt        Sealing
	keys       []sealKey
	keepClient bool   // for Options.ClientChanged
	beside     [3]int // bytes of a Set-Cookie besides the text, by kind
}

// A sealKey is a key that is ready for use.
type sealKey struct {
	*xaes
	key []byte
	id  [keyIDSize]byte

	// bound is what is authenticated with a record, by kind: the header of the
	// text, and the names of the application and the cookie. So no text is good for
	// another application, cookie, kind or version.
	bound [3][]byte
}

// A sealKind says where a sealed session is presented.
type sealKind uint8

const (
	sealedVisitor sealKind = iota
	sealedLogin
	sealedBearer
)

func sealKindOf(r *store.Record) sealKind {
	switch {
	case r.Bearer:
		return sealedBearer
	case r.Subject != "":
		return sealedLogin
	}
	return sealedVisitor
}

// A text is base64url, unpadded, of: a byte with version and kind, the key's ID,
// the nonce, and the sealed record.
const (
	sealVersion = 1 << 4 // in the upper half of the first byte
	sealMark    = 'E'    // the first character of a text, which says the version
	sealHeader  = 1 + keyIDSize
	sealedAt    = sealHeader + xaesNonceSize
	minSealed   = sealedAt + xaesTagSize
)

// isSealed reports whether a token looks like a sealed session. A token of the
// store is shorter.
func isSealed(token string) bool { return len(token) > tokenSize && token[0] == sealMark }

// A sealRoom is memory for sealing and opening. It is used by one request at a
// time.
type sealRoom struct {
	raw, text []byte
	key       [xaesKeySize]byte
}

// newSealer returns nil if nothing is to be sealed or opened.
func newSealer(opt *Options, site *site) (*sealer, error) {
	if opt.Sealed == nil {
		return nil, nil
	}
	s := &sealer{opt: *opt.Sealed, keepClient: opt.ClientChanged != nil}
	names := [3]string{opt.Cookie.Visitor, opt.Cookie.Name, "Authorization"}
	for kind, name := range names {
		s.beside[kind] = len(name) + len("=; Max-Age=34560000") + len(site.forms[0])
	}
	for _, key := range opt.Sealed.Keys {
		x, err := newXAES(key)
		if err != nil {
			return nil, err
		}
		k := sealKey{xaes: x, key: key, id: keyID(key)}
		for kind, name := range names {
			k.bound[kind] = fmt.Appendf(nil, "%c%s\x00sojourn\x00%s\x00%s", sealVersion|byte(kind), k.id[:], opt.App, name)
		}
		s.keys = append(s.keys, k)
	}
	return s, nil
}

// covers reports whether logged-in sessions are sealed, or, if login is false,
// those of visitors.
func (s *sealer) covers(login bool) bool {
	return s != nil && (s.opt.For == SealEveryone || s.opt.For == SealVisitors && !login)
}

// fits returns ErrTooLarge if the cookie of r with the given values could be
// larger than browsers accept. It counts each time at its longest, so a session
// that fits now also fits later.
func (s *sealer) fits(r *store.Record, values store.Values) error {
	const fields = 1 + idSize + 6*6 + 1 + 2 + 2 // numbers, and the lengths of texts
	size := minSealed + fields + len(r.Subject) + len(r.AMR) + len(values)
	if s.keepClient {
		size += 1 + 2*16 + 2 + maxUserAgent // the address may have a zone
	}
	beside := s.beside[sealKindOf(r)]
	if text := base64.RawURLEncoding.EncodedLen(size); text+beside > maxCookiePair {
		room := base64.RawURLEncoding.DecodedLen(maxCookiePair-beside) - (size - len(values))
		return fmt.Errorf("%w: the session has %d bytes, and a sealed one takes at most %d", ErrTooLarge, len(values), max(room, 0))
	}
	return nil
}

// seal returns the text of r, sealed with the first key.
func (s *sealer) seal(r *store.Record, random io.Reader, room *sealRoom) (string, error) {
	k, kind := &s.keys[0], sealKindOf(r)
	raw := append(room.raw[:0], k.bound[kind][:sealHeader]...)
	raw = s.appendRecord(append(raw, make([]byte, xaesNonceSize)...), r)
	room.raw = raw
	nonce := raw[sealHeader:sealedAt]
	if err := readRandom(random, nonce); err != nil {
		return "", err
	}
	gcm, err := k.gcm(nonce, &room.key)
	if err != nil {
		return "", err
	}
	raw = gcm.Seal(raw[:sealedAt], nonce[12:], raw[sealedAt:], k.bound[kind])
	text := base64.RawURLEncoding.AppendEncode(room.text[:0], raw)
	room.raw, room.text = raw, text
	if len(text)+s.beside[kind] > maxCookiePair { // with an address that has a very long zone
		return "", ErrTooLarge
	}
	return string(text), nil
}

// firstSecret returns the secret of the stored session that a sealed one becomes.
// It is the same for all copies since the last login or elevation. An older copy
// has another one, so it doesn't open what a newer one has become.
func (k *sealKey) firstSecret(r *store.Record) secret {
	h := hmac.New(sha256.New, k.key)
	fmt.Fprintf(h, "sojourn first secret\x00%s%d %d %s", r.ID[:], r.AuthenticatedAt, r.Level, r.AMR)
	return secret(h.Sum(nil))
}

// open reads a text into r, and returns the key that sealed it, or why it can't.
// Nothing of the text is believed before it is authenticated.
func (s *sealer) open(text string, r *store.Record, room *sealRoom) (*sealKey, Refusal) {
	if len(text) > maxCookiePair {
		return nil, RefusedMalformed
	}
	raw, ok := decodeBase64URL(room.raw[:0], text)
	room.raw = raw
	if !ok || len(raw) < minSealed || raw[0]&^3 != sealVersion || sealKind(raw[0]&3) > sealedBearer {
		return nil, RefusedMalformed
	}
	kind, id := sealKind(raw[0]&3), [keyIDSize]byte(raw[1:sealHeader])
	for i := range s.keys {
		k := &s.keys[i]
		if k.id != id {
			continue
		}
		nonce, sealed := raw[sealHeader:sealedAt], raw[sealedAt:]
		gcm, err := k.gcm(nonce, &room.key)
		if err != nil {
			return nil, RefusedUnknown
		}
		plain, err := gcm.Open(sealed[:0], nonce[12:], sealed, k.bound[kind])
		if err != nil || !parseRecord(r, plain, kind == sealedBearer) || sealKindOf(r) != kind {
			return nil, RefusedUnknown
		}
		return k, ""
	}
	return nil, RefusedNoKey
}

// decodeBase64URL appends the bytes that unpadded base64url stands for. It reports
// whether the text is canonical: each sequence of bytes has one spelling. It takes
// half the time of encoding/base64. parseToken doesn't call it, because its own
// loop of a fixed length is a fifth faster.
func decodeBase64URL(dst []byte, text string) ([]byte, bool) {
	var all uint8 // above 63 if a character isn't base64url
	n := len(dst)
	dst = slices.Grow(dst, len(text)/4*3+2)
	for raw := dst[n : n+len(text)/4*3]; len(raw) >= 3; raw = raw[3:] {
		a, b, c, d := digits[text[0]], digits[text[1]], digits[text[2]], digits[text[3]]
		all |= a | b | c | d
		raw[0], raw[1], raw[2] = a<<2|b>>4, b<<4|c>>2, c<<6|d
		text = text[4:]
		n += 3
	}
	dst = dst[:n]
	switch len(text) {
	case 1:
		return dst, false
	case 2:
		a, b := digits[text[0]], digits[text[1]]
		all |= a | b
		dst = append(dst, a<<2|b>>4)
		return dst, all <= 63 && b&15 == 0
	case 3:
		a, b, c := digits[text[0]], digits[text[1]], digits[text[2]]
		all |= a | b | c
		dst = append(dst, a<<2|b>>4, b<<4|c>>2)
		return dst, all <= 63 && c&3 == 0
	}
	return dst, all <= 63
}

// The record inside a text. Times are differences in milliseconds.
const (
	recordCreated    = 1 << iota // CreatedAt is not the ID's time, and follows
	recordSeconds                // the limits are whole seconds
	recordSubject                // somebody is logged in
	recordRemembered             // this one and the next two are fields of Record
	recordStale
	recordCloses
	recordClient // LastClient follows
)

// appendRecord appends what a sealed session keeps of r. It keeps no secret.
func (s *sealer) appendRecord(b []byte, r *store.Record) []byte {
	idle, absolute, from := int64(r.Idle/time.Millisecond), int64(r.ExpiresAt-r.CreatedAt), idTime(r.ID)
	if r.Subject != "" {
		absolute = int64(r.ExpiresAt - r.AuthenticatedAt)
	}
	var flags byte
	set := func(flag byte, on bool) {
		if on {
			flags |= flag
		}
	}
	set(recordCreated, from != r.CreatedAt)
	set(recordSeconds, idle%1000 == 0 && absolute%1000 == 0)
	set(recordSubject, r.Subject != "")
	set(recordRemembered, r.Remembered)
	set(recordStale, r.Stale)
	set(recordCloses, r.UntilBrowserCloses)
	set(recordClient, s.keepClient)
	b = append(append(b, flags), r.ID[:]...)
	if flags&recordCreated != 0 {
		b = binary.AppendVarint(b, int64(r.CreatedAt-from))
	}
	b = binary.AppendUvarint(b, r.Revision)
	b = binary.AppendVarint(b, int64(r.LastSeenAt-r.CreatedAt))
	if flags&recordSeconds != 0 {
		idle, absolute = idle/1000, absolute/1000
	}
	b = binary.AppendVarint(binary.AppendVarint(b, idle), absolute)
	if r.Subject != "" {
		b = binary.AppendVarint(b, int64(r.AuthenticatedAt-r.CreatedAt))
		b = append(b, r.Level)
		b = appendText(appendText(b, r.Subject), r.AMR)
	}
	if flags&recordClient != 0 {
		ip, _ := r.LastClient.IP.MarshalBinary() // never fails
		b = appendText(appendText(b, string(ip)), r.LastClient.UserAgent)
	}
	return append(b, r.Values...)
}

func appendText(b []byte, text string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(text))), text...)
}

// parseRecord is the reverse of appendRecord. It reuses the memory of r.
func parseRecord(r *store.Record, b []byte, bearer bool) bool {
	p := recordParser{rest: b, ok: true}
	flags := p.bytes(1)
	id := p.bytes(idSize)
	if !p.ok {
		return false
	}
	has := func(flag byte) bool { return flags[0]&flag != 0 }
	*r = store.Record{Good: r.Good[:0], Spent: r.Spent[:0], Epochs: r.Epochs[:0], Halves: r.Halves[:0], Values: r.Values[:0]}
	r.ID, r.Bearer = ID(id), bearer
	r.CreatedAt = idTime(r.ID)
	if has(recordCreated) {
		r.CreatedAt += store.Time(p.varint())
	}
	r.Revision = p.uvarint()
	r.LastSeenAt = r.CreatedAt + store.Time(p.varint())
	idle, absolute := p.varint(), p.varint()
	if has(recordSeconds) {
		idle, absolute = idle*1000, absolute*1000
	}
	p.ok = p.ok && idle >= 0 && idle <= 1<<42
	r.Idle, r.ExpiresAt = time.Duration(idle)*time.Millisecond, r.CreatedAt+store.Time(absolute)
	if has(recordSubject) {
		r.AuthenticatedAt = r.CreatedAt + store.Time(p.varint())
		r.ExpiresAt += r.AuthenticatedAt - r.CreatedAt
		if level := p.bytes(1); p.ok {
			r.Level = level[0]
		}
		r.Subject, r.AMR, r.Epoch = p.text(), p.text(), 1
		p.ok = p.ok && r.Subject != ""
	}
	r.Remembered, r.Stale, r.UntilBrowserCloses = has(recordRemembered), has(recordStale), has(recordCloses)
	if has(recordClient) {
		var ip netip.Addr
		p.ok = ip.UnmarshalBinary(p.bytes(p.uvarint())) == nil && p.ok
		r.LastClient = Client{IP: ip, UserAgent: p.text()}
	}
	r.Values = append(r.Values, p.rest...)
	return p.ok && r.Values.Check() == nil
}

// A recordParser reads the fields of a record. Once ok is false it returns zeros.
type recordParser struct {
	rest []byte
	ok   bool
}

func (p *recordParser) bytes(n uint64) []byte {
	if p.ok = p.ok && n <= uint64(len(p.rest)); !p.ok {
		return nil
	}
	b := p.rest[:n]
	p.rest = p.rest[n:]
	return b
}

func (p *recordParser) text() string { return string(p.bytes(p.uvarint())) }

func (p *recordParser) uvarint() uint64 {
	v, n := binary.Uvarint(p.rest)
	return v * uint64(p.skip(n))
}

// varint reads a difference of times, in milliseconds or seconds. It refuses one
// that is larger than the time in an ID can be.
func (p *recordParser) varint() int64 {
	const most = 1 << 48
	v, n := binary.Varint(p.rest)
	if v < -most || v > most {
		n = 0
	}
	return v * int64(p.skip(n))
}

// skip moves past n bytes and returns 1. It returns 0 if there was nothing to read.
func (p *recordParser) skip(n int) int {
	if p.ok = p.ok && n > 0; !p.ok {
		return 0
	}
	p.rest = p.rest[n:]
	return 1
}

// idTime returns the time in a UUID of version 7.
func idTime(id ID) store.Time {
	return store.Time(binary.BigEndian.Uint64(id[:8]) >> 16)
}
