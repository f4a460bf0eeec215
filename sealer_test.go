package sojourn

import (
	"bytes"
	crand "crypto/rand"
	"encoding/base64"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn/store"
)

func testSealer(t testing.TB, change func(*Options)) *sealer {
	t.Helper()
	opt := Options{Sealed: &Sealing{Keys: [][]byte{bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32)}}}
	if change != nil {
		change(&opt)
	}
	opt, err := opt.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	site, err := newSite(opt)
	if err != nil {
		t.Fatal(err)
	}
	s, err := newSealer(&opt, site)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// randomRecord returns a record of which a sealed session keeps all.
func randomRecord(r *rand.Rand, client bool) *store.Record {
	now := store.TimeOf(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)) + store.Time(r.Int64N(1e9))
	rec := &store.Record{
		Revision: r.Uint64N(1 << 40), CreatedAt: now, LastSeenAt: now + store.Time(r.Int64N(1e10)-5e9),
		Idle: time.Duration(r.Int64N(1e9)) * time.Millisecond, ExpiresAt: now + store.Time(r.Int64N(1e10)),
		UntilBrowserCloses: r.IntN(2) > 0, Bearer: r.IntN(3) == 0,
	}
	for i := range rec.ID {
		rec.ID[i] = byte(r.Uint32())
	}
	if r.IntN(2) > 0 {
		now = idTime(rec.ID)
		rec.ExpiresAt += now - rec.CreatedAt
		rec.LastSeenAt += now - rec.CreatedAt
		rec.CreatedAt = now
		rec.Idle = rec.Idle.Truncate(time.Second)
	}
	if r.IntN(2) > 0 {
		rec.Subject, rec.AMR, rec.Level = strings.Repeat("u", 1+r.IntN(255)), strings.Repeat("m", r.IntN(256)), uint8(r.IntN(4))
		rec.AuthenticatedAt, rec.Epoch = rec.CreatedAt+store.Time(r.Int64N(1e9)), 1
		rec.Remembered, rec.Stale = r.IntN(2) > 0, r.IntN(2) > 0
	}
	if client {
		rec.LastClient = Client{IP: netip.MustParseAddr("2001:db8::1"), UserAgent: strings.Repeat("a", r.IntN(256))}
	}
	for range r.IntN(5) {
		key := strings.Repeat("k", 1+r.IntN(200))
		rec.Values = store.Values(nil).AppendSet(nil, key, []byte(`"`+strings.Repeat("v", r.IntN(300))+`"`))
	}
	return rec
}

// A record comes out of its text as it went in, and is never larger than fits says.
func TestSealerRoundTrip(t *testing.T) {
	for _, client := range []bool{false, true} {
		s := testSealer(t, func(o *Options) {
			if client {
				o.ClientChanged = func(_, _ Client) Reaction { return ReactionAllow }
			}
		})
		random, room, got := rand.New(rand.NewChaCha8([32]byte{3})), new(sealRoom), new(store.Record)
		for range 3000 {
			rec := randomRecord(random, client)
			text, err := s.seal(rec, rand.NewChaCha8([32]byte{byte(random.Uint32())}), room)
			if err != nil {
				t.Fatal(err)
			}
			key, refusal := s.open(text, got, room)
			if key != &s.keys[0] || refusal != "" || !got.Equal(rec) {
				t.Fatalf("%+v became %+v, %q", rec, got, refusal)
			}
			if cookie := s.beside[sealKindOf(rec)] + len(text); s.fits(rec, rec.Values) == nil && cookie > maxCookiePair {
				t.Fatalf("a cookie of %d bytes fits", cookie)
			}
		}
		w := randomRecord(random, client)
		for w.Values = nil; s.fits(w, append(w.Values, 0)) == nil; {
			w.Values = append(w.Values, 0)
		}
		if text := s.beside[sealKindOf(w)] + base64.RawURLEncoding.EncodedLen(minSealed+len(s.appendRecord(nil, w))); text > maxCookiePair || text < maxCookiePair-1000 {
			t.Errorf("the largest session has a cookie of %d bytes", text)
		}
	}
}

// Two texts of one record share nothing but the header.
func TestSealerNonces(t *testing.T) {
	s, rec, seen := testSealer(t, nil), randomRecord(rand.New(rand.NewChaCha8([32]byte{1})), false), map[string]bool{}
	for range 1000 {
		text, err := s.seal(rec, crand.Reader, new(sealRoom))
		if err != nil {
			t.Fatal(err)
		}
		raw, err := base64.RawURLEncoding.DecodeString(text)
		if nonce := string(raw[sealHeader:sealedAt]); err != nil || seen[nonce] {
			t.Fatal("a nonce comes again", err)
		} else {
			seen[nonce] = true
		}
	}
}

// decodeBase64URL takes what encoding/base64 takes, strictly.
func TestDecodeBase64URL(t *testing.T) {
	random := rand.New(rand.NewChaCha8([32]byte{4}))
	alphabet := "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	for n := range 300 {
		b := make([]byte, n%40)
		for i := range b {
			b[i] = alphabet[random.IntN(64)]
			if random.IntN(60) == 0 {
				b[i] = byte(random.Uint32())
			}
		}
		want, err := base64.RawURLEncoding.Strict().DecodeString(string(b))
		if bytes.ContainsAny(b, "\r\n") {
			continue // encoding/base64 skips them
		}
		got, ok := decodeBase64URL(nil, string(b))
		if ok != (err == nil) || ok && !bytes.Equal(got, want) {
			t.Errorf("%q: %x, %v; want %x, %v", b, got, ok, want, err)
		}
	}
}

// FuzzOpenSealed opens texts, and parses what would be in them. Only what the
// engine has sealed opens, and no record that comes out is malformed.
func FuzzOpenSealed(f *testing.F) {
	s, room := testSealer(f, nil), new(sealRoom)
	random := rand.New(rand.NewChaCha8([32]byte{5}))
	texts := map[string]bool{}
	for range 20 {
		rec := randomRecord(random, false)
		text, err := s.seal(rec, rand.NewChaCha8([32]byte{6}), room)
		if err != nil {
			f.Fatal(err)
		}
		texts[text] = true
		f.Add(text)
		f.Add(string(s.appendRecord(nil, rec)))
	}
	f.Add("E")
	f.Fuzz(func(t *testing.T, text string) {
		rec := new(store.Record)
		if _, refusal := s.open(text, rec, room); refusal == "" && !texts[text] {
			t.Errorf("%q opens", text)
		}
		if !parseRecord(rec, []byte(text), false) {
			return
		}
		again := new(store.Record)
		if !parseRecord(again, s.appendRecord(nil, rec), false) || rec.LastClient == (Client{}) && !again.Equal(rec) {
			t.Errorf("%+v becomes %+v", rec, again)
		}
	})
}
