package sojourn_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/store/memstore"
)

var visits = sojourn.NewKey[int]("visits")

func Example() {
	sessions := sojourn.Must(sojourn.New(memstore.New(), sojourn.Options{}))
	app := sessions.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := sojourn.From(r.Context())
		visits.Update(s, func(n *int) error { *n++; return nil })
		n, _ := visits.Get(s)
		fmt.Fprintf(w, "visit %d\n", n)
	}))

	answer := httptest.NewRecorder()
	app.ServeHTTP(answer, httptest.NewRequest("GET", "http://localhost/", nil))
	fmt.Print(answer.Body)

	again := httptest.NewRequest("GET", "http://localhost/", nil)
	again.AddCookie(answer.Result().Cookies()[0])
	answer = httptest.NewRecorder()
	app.ServeHTTP(answer, again)
	fmt.Print(answer.Body)
	// Output:
	// visit 1
	// visit 2
}
