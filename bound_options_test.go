package sojourn_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/store/memstore"
)

// New refuses what can't work, and says why.
func TestBoundOptions(t *testing.T) {
	for _, test := range []struct {
		bound sojourn.Binding
		says  string // empty: it is accepted
	}{
		{sojourn.Binding{}, ""},
		{sojourn.Binding{Path: "/auth/bound/", ProofLife: 5 * time.Minute, Grace: time.Second, RequireLevel: 3, Script: true}, ""},
		{sojourn.Binding{ProofLife: time.Hour, Grace: 30 * time.Minute}, ""},
		{sojourn.Binding{Path: "bound/"}, "Bound.Path"},
		{sojourn.Binding{Path: "/bound"}, "Bound.Path"},
		{sojourn.Binding{Path: "/"}, "Bound.Path"},
		{sojourn.Binding{Path: "//evil.example/"}, "Bound.Path"},
		{sojourn.Binding{Path: "/a/../b/"}, "Bound.Path"},
		{sojourn.Binding{Path: `/a"b/`}, "Bound.Path"},
		{sojourn.Binding{Path: "/a b/"}, "Bound.Path"},
		{sojourn.Binding{ProofLife: 5*time.Minute - time.Second}, "Bound.ProofLife"},
		{sojourn.Binding{ProofLife: 61 * time.Minute}, "Bound.ProofLife"},
		{sojourn.Binding{Grace: time.Millisecond}, "Bound.Grace"},
		{sojourn.Binding{Grace: time.Hour}, "Bound.Grace"},
		{sojourn.Binding{RequireLevel: 4}, "Bound.RequireLevel"},
		{sojourn.Binding{RequireLevel: -1}, "Bound.RequireLevel"},
	} {
		e, err := sojourn.New(memstore.New(), sojourn.Options{Bound: &test.bound})
		switch {
		case test.says == "" && err != nil:
			t.Errorf("%+v: %v", test.bound, err)
		case test.says != "" && (err == nil || !strings.Contains(err.Error(), test.says)):
			t.Errorf("%+v: got %v, want an error that names %s", test.bound, err, test.says)
		}
		if err == nil {
			e.Close(ctx)
		}
	}
}

// Logins in cookies can't be bound, and New says why.
func TestBoundRefusesSealedLogins(t *testing.T) {
	opt := sojourn.Options{Bound: &sojourn.Binding{}, Sealed: &sojourn.Sealing{Keys: [][]byte{make([]byte, 32)}, For: sojourn.SealEveryone}}
	for _, st := range []*memstore.Store{nil, memstore.New()} {
		var err error
		if st == nil {
			_, err = sojourn.New(nil, opt)
		} else {
			_, err = sojourn.New(st, opt)
		}
		if !errors.Is(err, sojourn.ErrUnsupported) || !strings.Contains(err.Error(), "copy of a sealed cookie from before the binding") {
			t.Errorf("got %v", err)
		}
	}
}
