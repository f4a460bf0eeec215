package mirror_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/internal/dbsc"
	"github.com/sojourn-go/sojourn/internal/dbsc/dbsctest"
)

// A bound session without a proof must not look like a sign-out: the script would
// drop what the user has changed and not sent yet.
func TestUnprovenIsNoSignOut(t *testing.T) {
	w := newWorldWith(t, sojourn.Options{Bound: &sojourn.Binding{}})
	b := w.browser()
	b.SignIn("ann")
	b.send(`"nickname":{"value":"Annie","age":0}`)
	device := dbsctest.Browser{Key: dbsctest.NewKey(), Post: func(path string, header http.Header) *http.Response {
		r := httptest.NewRequest("POST", path, nil)
		r.Header = header
		r.Header["Cookie"] = b.sent
		answer := httptest.NewRecorder()
		w.BoundHandler().ServeHTTP(answer, r)
		return answer.Result()
	}}
	_, challenge, _ := strings.Cut(device.Post("/session/bound/register", http.Header{}).Header.Get(dbsc.HeaderChallenge), `"`)
	challenge, _, _ = strings.Cut(challenge, `"`)
	if err := device.Register(dbsc.Registration("/session/bound/register", challenge)); err != nil {
		t.Fatal(err)
	}
	if _, err := device.Refresh(); err != nil {
		t.Fatal(err)
	}
	w.Advance(time.Hour)
	if got := b.post(`{"user":"` + b.user + `","values":{"nickname":{"value":"Nan","age":0}}}`); got.Code != http.StatusUnauthorized {
		t.Errorf("%d %s", got.Code, got.Body)
	}
	if tag, err := w.mirror.Tag("/session/", b.Session()); err != nil || !strings.Contains(string(tag), `{&#34;user&#34;:null,`) {
		t.Errorf("the element is %s, %v", tag, err)
	}
}
