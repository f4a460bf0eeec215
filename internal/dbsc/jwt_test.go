package dbsc_test

import (
	"encoding/base64"
	"fmt"
	"math/big"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/sojourn-go/sojourn/internal/dbsc"
	"github.com/sojourn-go/sojourn/internal/dbsc/dbsctest"
)

var rsaKey = sync.OnceValue(func() *dbsctest.Key { return dbsctest.NewRSAKey(2048) })

// A browser registers a key of each algorithm, and renews with it.
func TestRegistrationAndRefresh(t *testing.T) {
	for _, k := range []*dbsctest.Key{dbsctest.NewKey(), rsaKey()} {
		p, err := dbsc.Parse(k.Registration("cv"))
		if err != nil || p.Challenge != "cv" || p.Key == nil || !p.SignedBy(p.Key) {
			t.Fatalf("registration: %+v, %v", p, err)
		}
		stored := append(dbsc.Key(nil), p.Key...)
		if len(stored) > dbsc.MaxKey {
			t.Errorf("the key has %d bytes", len(stored))
		}
		p, err = dbsc.Parse(k.Refresh("next"))
		if err != nil || p.Challenge != "next" || p.Key != nil || !p.SignedBy(stored) {
			t.Fatalf("refresh: %+v, %v", p, err)
		}
		if p.SignedBy(nil) || p.SignedBy(stored[:len(stored)-1]) || p.SignedBy(make(dbsc.Key, 65)) || p.SignedBy(make(dbsc.Key, 260)) {
			t.Error("what is no key signed the proof")
		}
	}
	p, _ := dbsc.Parse(dbsctest.NewKey().Refresh("cv"))
	for _, other := range []*dbsctest.Key{dbsctest.NewKey(), rsaKey()} {
		r, _ := dbsc.Parse(other.Registration("cv"))
		if p.SignedBy(r.Key) {
			t.Error("another session's key signed the proof")
		}
	}
}

// What a browser has sent: a registration and a refresh with each algorithm.
func TestProofsOfChromium(t *testing.T) {
	text, err := os.ReadFile("testdata/chromium.txt")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		seen++
		f := strings.Fields(line)
		registration, err := dbsc.Parse(f[1])
		if err != nil || registration.Challenge != "c0" || registration.Key.Algorithm() != f[0] || !registration.SignedBy(registration.Key) {
			t.Fatalf("%s: registration %+v, %v", f[0], registration, err)
		}
		refresh, err := dbsc.Parse(f[2])
		if err != nil || refresh.Challenge != "c1" || refresh.Key != nil || !refresh.SignedBy(registration.Key) {
			t.Errorf("%s: refresh %+v, %v", f[0], refresh, err)
		}
		// Each change of a character makes another proof.
		for i := range f[2] {
			changed := []byte(f[2])
			if changed[i] == 'A' {
				changed[i] = 'B'
			} else {
				changed[i] = 'A'
			}
			if p, err := dbsc.Parse(string(changed)); err == nil && p.SignedBy(registration.Key) {
				t.Errorf("%s: accepted with another character at %d", f[0], i)
			}
		}
	}
	if seen != 2 {
		t.Errorf("%d lines", seen)
	}
}

// The proof in the draft's example has a key that is sound, and an authorization.
func TestProofOfTheDraft(t *testing.T) {
	k := dbsctest.NewKey()
	jwk := `{"kty":"EC","crv":"P-256","x":"6_GB2voQ0qroMh6OlDFCFS_SJriQi1PTvvBOhGZ3bHI","y":"IegOJULyE7SxH_Cd1KCER7lWBvGFHQ-h0xyjzUjEIWE"}`
	p, err := dbsc.Parse(k.Sign(`{"alg":"ES256","typ":"dbsc+jwt","jwk":`+jwk+`}`, `{"jti":"cv","authorization":"ac"}`))
	if err != nil || p.Challenge != "cv" || p.Authorization != "ac" || p.Key.Algorithm() != dbsc.ES256 {
		t.Fatalf("%+v, %v", p, err)
	}
	if p.SignedBy(p.Key) {
		t.Error("the key of the draft signed what another key signed")
	}
}

// Members that the draft doesn't know, or no longer knows, are ignored.
func TestUnknownMembers(t *testing.T) {
	k := dbsctest.NewKey()
	jwt := k.Sign(` {"kid" : [{"a":1,"a":2}], "typ":"dbsc+jwt", "alg":"ES256", "x5u":null, "ALG":"none"} `,
		`{"aud":"https://elsewhere.example/","iat":1725579055,"exp":1,"sub":"other","JTI":"no","jti":"c\u0076","key":{"kty":"EC"}}`)
	p, err := dbsc.Parse(jwt)
	if err != nil || p.Challenge != "cv" || p.Key != nil {
		t.Fatalf("%+v, %v", p, err)
	}
}

func TestBrokenProofs(t *testing.T) {
	k := dbsctest.NewKey()
	const header, payload = `{"alg":"ES256","typ":"dbsc+jwt"}`, `{"jti":"cv"}`
	good := k.Sign(header, payload)
	parts := strings.Split(good, ".")
	jwk := func(members string) string {
		return k.Sign(`{"alg":"ES256","typ":"dbsc+jwt","jwk":`+members+`}`, payload)
	}
	ec := func(x, y string) string { return jwk(`{"kty":"EC","crv":"P-256","x":"` + x + `","y":"` + y + `"}`) }
	rsa := func(n, e []byte) string {
		return k.Sign(`{"alg":"RS256","typ":"dbsc+jwt","jwk":{"kty":"RSA","n":"`+b64(n)+`","e":"`+b64(e)+`"}}`, payload)
	}
	odd := func(bits uint) []byte { // 2^(bits-1) + 1
		n := new(big.Int).Lsh(big.NewInt(1), bits-1)
		return n.SetBit(n, 0, 1).Bytes()
	}
	f4 := []byte{1, 0, 1}
	const x, y = "6_GB2voQ0qroMh6OlDFCFS_SJriQi1PTvvBOhGZ3bHI", "IegOJULyE7SxH_Cd1KCER7lWBvGFHQ-h0xyjzUjEIWE"
	for name, jwt := range map[string]string{
		"empty":                         "",
		"one part":                      parts[0],
		"two parts":                     parts[0] + "." + parts[1],
		"a dot at the end":              good + ".",
		"two dots at the end":           good + "..",
		"a dot in front":                "." + good,
		"five parts (encrypted)":        good + "." + parts[0] + "." + parts[1],
		"the JSON serialisation":        `{"payload":"` + parts[1] + `","protected":"` + parts[0] + `","signature":"` + parts[2] + `"}`,
		"padding in the header":         parts[0] + "=." + parts[1] + "." + parts[2],
		"padding in the signature":      good + "==",
		"standard base64":               strings.NewReplacer("-", "+", "_", "/").Replace(k.Sign(header, `{"jti":"???>>>"}`)), // a - and a _ at least
		"a line break":                  parts[0] + "\n." + parts[1] + "." + parts[2],
		"a line break at the end":       good + "\r\n",
		"a space":                       good + " ",
		"stray bits":                    parts[0] + "." + parts[1] + "." + parts[2][:len(parts[2])-1] + "_",
		"a header that isn't JSON":      k.Sign(`alg`, payload),
		"an array as header":            k.Sign(`["alg","ES256"]`, payload),
		"null as header":                k.Sign(`null`, payload),
		"an empty header":               "." + parts[1] + "." + parts[2],
		"two objects":                   k.Sign(header+header, payload),
		"garbage after the object":      k.Sign(header+"x", payload),
		"an open object":                k.Sign(`{"alg":"ES256","typ":"dbsc+jwt"`, payload),
		"a comma too many":              k.Sign(`{"alg":"ES256","typ":"dbsc+jwt",}`, payload),
		"a byte order mark":             k.Sign("\ufeff"+header, payload),
		"not UTF-8":                     k.Sign("{\"alg\":\"ES256\",\"typ\":\"dbsc+jwt\",\"x\":\"\xff\"}", payload),
		"alg twice":                     k.Sign(`{"alg":"ES256","alg":"ES256","typ":"dbsc+jwt"}`, payload),
		"alg twice, once escaped":       k.Sign(`{"alg":"none","\u0061lg":"ES256","typ":"dbsc+jwt"}`, payload),
		"an unknown member twice":       k.Sign(`{"alg":"ES256","x":1,"x":2,"typ":"dbsc+jwt"}`, payload),
		"jti twice":                     k.Sign(header, `{"jti":"cv","jti":"cv"}`),
		"x twice":                       jwk(`{"kty":"EC","crv":"P-256","x":"` + x + `","x":"` + x + `","y":"` + y + `"}`),
		"no alg":                        k.Sign(`{"typ":"dbsc+jwt"}`, payload),
		"alg none":                      k.Sign(`{"alg":"none","typ":"dbsc+jwt"}`, payload),
		"alg none, unsigned":            b64([]byte(`{"alg":"none","typ":"dbsc+jwt"}`)) + "." + parts[1] + ".",
		"alg HS256":                     k.Sign(`{"alg":"HS256","typ":"dbsc+jwt"}`, payload),
		"alg ES384":                     k.Sign(`{"alg":"ES384","typ":"dbsc+jwt"}`, payload),
		"alg PS256":                     k.Sign(`{"alg":"PS256","typ":"dbsc+jwt"}`, payload),
		"alg in lower case":             k.Sign(`{"alg":"es256","typ":"dbsc+jwt"}`, payload),
		"alg by another name":           k.Sign(`{"Alg":"ES256","typ":"dbsc+jwt"}`, payload),
		"alg as an array":               k.Sign(`{"alg":["ES256"],"typ":"dbsc+jwt"}`, payload),
		"alg null":                      k.Sign(`{"alg":null,"typ":"dbsc+jwt"}`, payload),
		"no typ":                        k.Sign(`{"alg":"ES256"}`, payload),
		"typ JWT":                       k.Sign(`{"alg":"ES256","typ":"JWT"}`, payload),
		"typ dpop+jwt":                  k.Sign(`{"alg":"ES256","typ":"dpop+jwt"}`, payload),
		"typ in upper case":             k.Sign(`{"alg":"ES256","typ":"DBSC+JWT"}`, payload),
		"crit":                          k.Sign(`{"alg":"ES256","typ":"dbsc+jwt","crit":["b64"],"b64":false}`, payload),
		"no jti":                        k.Sign(header, `{}`),
		"jti null":                      k.Sign(header, `{"jti":null}`),
		"jti empty":                     k.Sign(header, `{"jti":""}`),
		"jti a number":                  k.Sign(header, `{"jti":1}`),
		"authorization a number":        k.Sign(header, `{"jti":"cv","authorization":1}`),
		"a payload that isn't JSON":     k.Sign(header, `cv`),
		"no payload":                    k.Sign(header, ``),
		"64 KiB":                        k.Sign(header, `{"jti":"`+strings.Repeat("c", 64<<10)+`"}`),
		"64 KiB of dots":                strings.Repeat(".", 64<<10),
		"nested deeply":                 k.Sign(header, `{"jti":"cv","x":`+strings.Repeat("[", 11_000)+`}`),
		"jwk null":                      jwk(`null`),
		"jwk a string":                  jwk(`"` + x + `"`),
		"jwk empty":                     jwk(`{}`),
		"a symmetric key":               jwk(`{"kty":"oct","k":"AAAA"}`),
		"an Ed25519 key":                jwk(`{"kty":"OKP","crv":"Ed25519","x":"` + x + `"}`),
		"P-384":                         jwk(`{"kty":"EC","crv":"P-384","x":"` + x + `","y":"` + y + `"}`),
		"secp256k1":                     jwk(`{"kty":"EC","crv":"secp256k1","x":"` + x + `","y":"` + y + `"}`),
		"no y":                          jwk(`{"kty":"EC","crv":"P-256","x":"` + x + `"}`),
		"a private key":                 jwk(`{"kty":"EC","crv":"P-256","x":"` + x + `","y":"` + y + `","d":"` + x + `"}`),
		"an EC key for RS256":           k.Sign(`{"alg":"RS256","typ":"dbsc+jwt","jwk":`+k.JWK()+`}`, payload),
		"an RSA key for ES256":          k.Sign(`{"alg":"ES256","typ":"dbsc+jwt","jwk":`+rsaKey().JWK()+`}`, payload),
		"a point off the curve":         ec(x, x),
		"the point 0, 0":                ec(b64(make([]byte, 32)), b64(make([]byte, 32))),
		"coordinates above the prime":   ec(b64(bytesOf(0xff, 32)), b64(bytesOf(0xff, 32))),
		"a short coordinate":            ec(x[:42], y),
		"a long coordinate":             ec(b64(make([]byte, 33)), y),
		"a coordinate with padding":     ec(x+"=", y),
		"1024 bits":                     rsa(odd(1024), f4),
		"2047 bits":                     rsa(odd(2047), f4),
		"4097 bits":                     rsa(odd(4097), f4),
		"a huge modulus":                rsa(odd(60_000), f4),
		"an even modulus":               rsa(new(big.Int).Lsh(big.NewInt(1), 2047).Bytes(), f4),
		"a modulus with a leading zero": rsa(append([]byte{0}, odd(2048)...), f4),
		"no modulus":                    rsa(nil, f4),
		"exponent 1":                    rsa(odd(2048), []byte{1}),
		"exponent 3":                    rsa(odd(2048), []byte{3}),
		"an even exponent":              rsa(odd(2048), []byte{1, 0, 2}),
		"a huge exponent":               rsa(odd(2048), odd(2048)),
		"exponent 2^31 + 1":             rsa(odd(2048), []byte{0x80, 0, 0, 1}),
		"exponent with a leading zero":  rsa(odd(2048), []byte{0, 1, 0, 1}),
	} {
		if p, err := dbsc.Parse(jwt); err == nil {
			t.Errorf("%s: accepted: %+v", name, p)
		} else if !strings.HasPrefix(err.Error(), "dbsc: ") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %q", name, err)
		}
	}
	for name, jwt := range map[string]string{
		"as it is":      good,
		"2048 bits":     rsa(odd(2048), f4),
		"2049 bits":     rsa(odd(2049), f4),
		"4096 bits":     rsa(odd(4096), f4),
		"e = 2^31 - 1":  rsa(odd(2048), []byte{0x7f, 0xff, 0xff, 0xff}),
		"the draft's x": ec(x, y),
	} {
		if _, err := dbsc.Parse(jwt); err != nil {
			t.Errorf("%s: refused: %v", name, err)
		}
	}
}

// Signatures of a wrong form or over something else don't count.
func TestBrokenSignatures(t *testing.T) {
	k := dbsctest.NewKey()
	registration, err := dbsc.Parse(k.Registration("cv"))
	if err != nil {
		t.Fatal(err)
	}
	good := k.Refresh("cv")
	dot := strings.LastIndexByte(good, '.')
	signed, signature := good[:dot+1], decode(t, good[dot+1:])
	order, _ := new(big.Int).SetString("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551", 16)
	r, s := signature[:32], signature[32:]
	zero := make([]byte, 32)
	other := k.Refresh("another")
	for name, jwt := range map[string]string{
		"none":                  signed,
		"all zero":              signed + b64(make([]byte, 64)),
		"r zero":                signed + b64(zero, s),
		"s zero":                signed + b64(r, zero),
		"r the order":           signed + b64(order.Bytes(), s),
		"s the order":           signed + b64(r, order.Bytes()),
		"r and s exchanged":     signed + b64(s, r),
		"too short":             signed + b64(signature[:63]),
		"too long":              signed + b64(signature, []byte{0}),
		"ASN.1":                 signed + b64([]byte{0x30, 68, 2, 32}, r, []byte{2, 32}, s),
		"of another challenge":  signed + other[strings.LastIndexByte(other, '.')+1:],
		"another header":        b64([]byte(`{"typ":"dbsc+jwt","alg":"ES256"}`)) + good[strings.IndexByte(good, '.'):],
		"by another key":        dbsctest.NewKey().Refresh("cv"),
		"by a key of RSA":       rsaKey().Refresh("cv"),
		"an alg of another key": k.Sign(`{"alg":"RS256","typ":"dbsc+jwt"}`, `{"jti":"cv"}`),
	} {
		if p, err := dbsc.Parse(jwt); err == nil && p.SignedBy(registration.Key) {
			t.Errorf("%s: accepted", name)
		}
	}
	if p, err := dbsc.Parse(good); err != nil || !p.SignedBy(registration.Key) {
		t.Error("the right one is refused")
	}
	// A second signature of the same proof: the challenge counts once, so this
	// does no harm. Browsers send both forms.
	negative := new(big.Int).Sub(order, new(big.Int).SetBytes(s))
	if p, err := dbsc.Parse(signed + b64(r, negative.FillBytes(make([]byte, 32)))); err != nil || !p.SignedBy(registration.Key) {
		t.Error("the other s is refused")
	}
}

// FuzzParse checks that Parse doesn't panic, and that what it accepts has one
// form: nothing was skipped or filled in.
func FuzzParse(f *testing.F) {
	k := dbsctest.NewKey()
	f.Add(k.Registration("cv"))
	f.Add(k.Refresh("cv"))
	f.Add(rsaKey().Registration("cv"))
	f.Add(k.Sign(`{"alg":"ES256","typ":"dbsc+jwt","jwk":{"kty":"EC"}}`, `{"jti":"cv","authorization":"a"}`))
	f.Add("..")
	stored, err := dbsc.Parse(k.Registration("cv"))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, jwt string) {
		p, err := dbsc.Parse(jwt)
		if err != nil {
			return
		}
		parts := strings.Split(jwt, ".")
		for _, part := range parts {
			if b64(decode(t, part)) != part {
				t.Fatalf("%q isn't canonical", part)
			}
		}
		if len(parts) != 3 || p.Challenge == "" || p.Key != nil && p.Key.Algorithm() == "" || len(p.Key) > dbsc.MaxKey {
			t.Fatalf("%q: %+v", jwt, p)
		}
		p.SignedBy(p.Key)
		p.SignedBy(stored.Key)
	})
}

func BenchmarkParseAndVerify(b *testing.B) {
	for name, k := range map[string]*dbsctest.Key{"ES256": dbsctest.NewKey(), "RS256": rsaKey()} {
		registration, err := dbsc.Parse(k.Registration("cv"))
		if err != nil {
			b.Fatal(err)
		}
		jwt := k.Refresh("cv")
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if p, err := dbsc.Parse(jwt); err != nil || !p.SignedBy(registration.Key) {
					b.Fatal(err)
				}
			}
		})
	}
}

func b64(parts ...[]byte) string {
	var all []byte
	for _, p := range parts {
		all = append(all, p...)
	}
	return base64.RawURLEncoding.EncodeToString(all)
}

func decode(t *testing.T, text string) []byte {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(fmt.Errorf("%q: %w", text, err))
	}
	return b
}

func bytesOf(b byte, n int) []byte { return []byte(strings.Repeat(string([]byte{b}), n)) }
