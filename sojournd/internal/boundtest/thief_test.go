package boundtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/sojournd/internal/browsertest"
)

// All cookies are copied into a program and into another browser. There they are
// good for the proof's life and its grace, and not for a second more. The victim
// notices nothing. The theft is an event.
func TestThief(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	victim := s.browser()
	victim.signIn("ann", false)
	id := s.of("ann").ID
	jar := victim.Jar()
	program, second := s.thief(jar), s.browser()
	second.Visit("/me")
	second.Steal(jar)
	victim.greets("ann")

	good := func(want string) {
		t.Helper()
		if _, text := program.do("GET", "/me"); text != "Hello "+want {
			t.Errorf("the program: %s, want %s", text, want)
		}
		if got := second.fetch("/me")[0]; got != "Hello "+want {
			t.Errorf("the second browser: %s, want %s", got, want)
		}
	}
	good("ann")
	s.pass(life + grace - 2*time.Second)
	good("ann")
	if why := s.refusals(id); why != nil {
		t.Errorf("refused too early: %v", why)
	}
	victim.Forget(proofCookie)
	victim.greets("ann")
	s.pass(4 * time.Second)

	good("stranger")
	for path, want := range map[string]int{"/account": http.StatusUnauthorized, "/safe": http.StatusUnauthorized} {
		if answer, _ := program.do("GET", path); answer.StatusCode != want {
			t.Errorf("%s: %s, want %d", path, answer.Status, want)
		}
	}
	if answer, _ := program.do("POST", "/order"); answer.StatusCode != http.StatusUnauthorized {
		t.Errorf("an order: %s", answer.Status)
	}
	if why := s.refusals(id); !slices.Contains(why, sojourn.RefusedUnproven) {
		t.Errorf("no event tells of the theft: %v", why)
	}
	// No way leads back in: the thief has no challenge that the victim's key signed.
	key := newKey(t)
	asked, _ := program.do("POST", refresh, "Sec-Secure-Session-Id", id.String())
	if asked.StatusCode != http.StatusForbidden {
		t.Errorf("a refresh without a proof: %s", asked.Status)
	}
	challenge, _, _ := strings.Cut(strings.TrimPrefix(asked.Header.Get("Secure-Session-Challenge"), `"`), `"`)
	if len(challenge) < 43 {
		t.Fatalf("the challenge is %q", challenge)
	}
	for what, header := range map[string][]string{
		"a refresh with another key":              {"Sec-Secure-Session-Id", id.String(), "Secure-Session-Response", key.sign(t, challenge, false)},
		"a refresh by the cookie":                 {"Secure-Session-Response", key.sign(t, challenge, false)},
		"a refresh that brings a key":             {"Sec-Secure-Session-Id", id.String(), "Secure-Session-Response", key.sign(t, challenge, true)},
		"a registration with the challenge":       {"Secure-Session-Response", key.sign(t, challenge, true)},
		"a registration without a key":            {"Secure-Session-Response", key.sign(t, challenge, false)},
		"a registration of the session by its ID": {"Sec-Secure-Session-Id", id.String(), "Secure-Session-Response", key.sign(t, challenge, true)},
	} {
		path := refresh
		if strings.Contains(what, "registration") {
			path = register
		}
		if answer, _ := program.do("POST", path, header...); answer.StatusCode != http.StatusUnauthorized && answer.StatusCode != http.StatusBadRequest || len(answer.Cookies()) != 0 {
			t.Errorf("%s: %s, cookies %v", what, answer.Status, answer.Cookies())
		}
	}
	if why := s.refusals(id); !slices.Contains(why, sojourn.RefusedBound) {
		t.Errorf("no event tells of the second registration: %v", why)
	}
	good("stranger")

	for range 3 {
		victim.greets("ann")
		victim.lapse(2 * life)
		good("stranger")
	}
	victim.greets("ann")
	if n := victim.Ends(); n != 0 || s.of("ann").ID != id {
		t.Errorf("the victim's browser gave up %d sessions", n)
	}
}

// A thief who was there before the browser's first proof has what the login gave,
// until that proof. Where a bound session is required, he has nothing from the
// start.
func TestThiefBeforeRegistration(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	victim := s.browser()
	hold := make(chan struct{})
	s.between(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if r.URL.Path == register {
			<-hold
		}
		next.ServeHTTP(w, r)
	})
	victim.enter("ann", false)
	program := s.thief(victim.Jar())
	expect := func(path string, want int, when string) {
		t.Helper()
		if answer, _ := program.do("GET", path); answer.StatusCode != want {
			t.Errorf("%s, %s: %s, want %d", when, path, answer.Status, want)
		}
	}
	expect("/account", http.StatusOK, "before the registration")
	expect("/safe", http.StatusForbidden, "before the registration")
	close(hold)
	victim.Until("registrations", victim.Registrations, 1)
	victim.greets("ann")
	victim.Visit("/safe")
	victim.See("h1", "Hello ann")
	s.pass(grace + time.Second)
	expect("/account", http.StatusUnauthorized, "after the first proof")
	expect("/safe", http.StatusUnauthorized, "after the first proof")
	victim.greets("ann")
}

// A thief sends the cookies of somebody else, by a program.
type thief struct {
	s      *site
	client *http.Client
	jar    []*http.Cookie
}

func (s *site) thief(jar []*network.Cookie) *thief {
	t := &thief{s: s, client: s.Client()}
	for _, c := range jar {
		t.jar = append(t.jar, &http.Cookie{Name: c.Name, Value: c.Value})
	}
	return t
}

// do sends a request with all cookies and the given header fields, and returns the
// answer and its text. It takes over the cookies that an answer sets.
func (t *thief) do(method, path string, header ...string) (*http.Response, string) {
	t.s.t.Helper()
	r, err := http.NewRequestWithContext(t.s.t.Context(), method, t.s.URL(browsertest.BoundHost)+path, nil)
	if err != nil {
		t.s.t.Fatal(err)
	}
	for _, c := range t.jar {
		r.AddCookie(c)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	answer, err := t.client.Do(r)
	if err != nil {
		t.s.t.Fatal(err)
	}
	defer answer.Body.Close() //nolint:errcheck // read to its end
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.s.t.Fatal(err)
	}
	for _, c := range answer.Cookies() {
		t.jar = append(slices.DeleteFunc(t.jar, func(old *http.Cookie) bool { return old.Name == c.Name }), c)
	}
	return answer, string(body)
}

// A key is one that a thief makes.
type key struct{ *ecdsa.PrivateKey }

func newKey(t *testing.T) key {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key{k}
}

// sign returns a proof of a challenge, as a browser makes it. That of a
// registration has the key.
func (k key) sign(t *testing.T, challenge string, registration bool) string {
	t.Helper()
	encode := base64.RawURLEncoding.EncodeToString
	jwk := ""
	if registration {
		point, err := k.PublicKey.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		jwk = fmt.Sprintf(`,"jwk":{"crv":"P-256","kty":"EC","x":%q,"y":%q}`, encode(point[1:33]), encode(point[33:]))
	}
	text := encode([]byte(`{"alg":"ES256"`+jwk+`,"typ":"dbsc+jwt"}`)) + "." + encode(fmt.Appendf(nil, `{"jti":%q}`, challenge))
	sum := sha256.Sum256([]byte(text))
	r, s, err := ecdsa.Sign(rand.Reader, k.PrivateKey, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return text + "." + encode(signature)
}
