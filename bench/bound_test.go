package bench

import (
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/internal/dbsc"
	"github.com/sojourn-go/sojourn/internal/dbsc/dbsctest"
	"github.com/sojourn-go/sojourn/store/memstore"
)

// BenchmarkBound measures requests of a session that is bound to its browser's key,
// beside one that isn't, and the refresh that renews the proof.
func BenchmarkBound(b *testing.B) {
	read := requestCase{name: "read-subject", setup: []op{login}, op: readSubject}
	bound := read
	bound.setup = []op{login, bind}
	for _, c := range []struct {
		requestCase
		peer
	}{{read, peer{"sojourn", openSojourn}}, {read, peer{"sojourn-unbound", openBound}}, {bound, peer{"sojourn-bound", openBound}}} {
		b.Run("case=read-subject/peer="+c.peer.name, func(b *testing.B) { c.run(b, c.peer, runtime.GOMAXPROCS(0)) })
	}
	for name, key := range map[string]*dbsctest.Key{"es256": dbsctest.NewKey(), "rs256": dbsctest.NewRSAKey(2048)} {
		b.Run("case=refresh-"+name+"/peer=sojourn-bound", func(b *testing.B) {
			s := openBound()
			defer s.Close()
			v := newVisitor(s)
			check(v.send(login))
			k := &keeper{s.(*httpSite).bound, v.cookies, key, ""}
			check(k.bind())
			for b.Loop() {
				b.StopTimer()
				proof := k.key.Refresh(k.challenge)
				b.StartTimer()
				if status := k.post("refresh", proof).status; status != http.StatusOK {
					b.Fatal("status", status)
				}
			}
		})
	}
}

// bind binds the session to a key, and gets the first proof.
const bind op = "bind"

// openBound binds sessions, also of browsers that ask by script.
func openBound() site {
	return sojournSite(memstore.New(), sojourn.Options{Bound: &sojourn.Binding{Script: true}})
}

// A keeper is what a browser does to keep its session bound.
type keeper struct {
	handler   http.Handler // of BoundHandler
	cookies   jar
	key       *dbsctest.Key
	challenge string // what it signs next
}

func (k *keeper) bind() error {
	k.post("register", "")
	for _, proof := range []func() response{
		func() response { return k.post("register", k.key.Registration(k.challenge)) },
		func() response { return k.post("refresh", k.key.Refresh(k.challenge)) },
	} {
		if r := proof(); r.status != http.StatusOK {
			return fmt.Errorf("bind: status %d: %s", r.status, r.body)
		}
	}
	return nil
}

// post sends a proof, and heeds the answer.
func (k *keeper) post(what, proof string) response {
	r := newRequest("session/bound/"+op(what), "", k.cookies)
	r.Method = "POST"
	if proof != "" {
		r.Header.Set(dbsc.HeaderResponse, proof)
	}
	w := &lightWriter{header: http.Header{}}
	k.handler.ServeHTTP(w, r)
	text, _, _ := strings.Cut(strings.TrimPrefix(w.header.Get(dbsc.HeaderChallenge), `"`), `"`)
	k.challenge = text
	k.cookies.keep(w.header["Set-Cookie"])
	return response{w.status, w.body, w.header["Set-Cookie"]}
}

// binds is the handler of bind.
func binds(bound http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		k := &keeper{bound, jar{}, dbsctest.NewKey(), ""}
		for _, c := range r.Cookies() {
			k.cookies[c.Name] = c.Value
		}
		err := k.bind()
		for name, value := range k.cookies {
			w.Header().Add("Set-Cookie", name+"="+value)
		}
		answer(w, ok, err)
	})
}
