package main

import (
	"fmt"
	"log"
	"net/http"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/store/memstore"
)

var visits = sojourn.NewKey[int]("visits")

func main() {
	sessions := sojourn.Must(sojourn.New(memstore.New(), sojourn.Options{}))
	log.Fatal(http.ListenAndServe("localhost:8080", sessions.Handler(http.HandlerFunc(hello))))
}

func hello(w http.ResponseWriter, r *http.Request) {
	s := sojourn.From(r.Context())
	if err := visits.Update(s, func(n *int) error { *n++; return nil }); err != nil {
		sojourn.Error(w, r, err)
		return
	}
	n, _ := visits.Get(s)
	fmt.Fprintf(w, "Visit %d.\n", n)
}
