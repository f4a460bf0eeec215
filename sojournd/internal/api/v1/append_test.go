package v1_test

import (
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/sojourn-go/sojourn/sojournd/internal/api/v1"
)

// AppendJSON writes what package json writes, for all members and without any.
func TestAppendJSON(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	texts := []string{"", "u-1815", "a \"quoted\" \\ <b>&\u2028\x00\x1f", "größe, 名前, 🎈"}
	pick := func() string { return texts[random.IntN(len(texts))] }
	fill := func(of any) {
		of1 := reflect.ValueOf(of).Elem()
		for i := range of1.NumField() {
			switch f := of1.Field(i); {
			case !f.CanSet() || random.IntN(4) == 0:
			case f.Kind() == reflect.String:
				f.SetString(pick())
			case f.Kind() == reflect.Bool:
				f.SetBool(true)
			case f.CanInt():
				f.SetInt(random.Int64N(4))
			case f.CanUint():
				f.SetUint(random.Uint64())
			default:
				switch to := f.Addr().Interface().(type) {
				case *time.Time:
					*to = time.UnixMicro(random.Int64N(4e15)).UTC()
				case *[]string:
					*to = []string{pick(), pick()}[:random.IntN(3)]
				case *v1.Values:
					*to = v1.Values(`{"cart":{"items":[1,2,3]},"ü":null}`)
				case *v1.Browser: // filled below
				default:
					t.Fatalf("AppendJSON may not know the member %s", of1.Type().Field(i).Name)
				}
			}
		}
	}
	for range 1000 {
		var s v1.Session
		fill(&s)
		fill(&s.Client)
		r := v1.Resolved{Session: &s}
		got, ok := r.AppendJSON([]byte("x"))
		want, err := json.Marshal(&r, json.Deterministic(true))
		if !ok || err != nil || string(got) != "x"+string(want) {
			t.Fatalf("%v %v\n%s\nwant\n%s", ok, err, got, want)
		}
	}
}

// Answers with more than a session, and what package json refuses, are left to
// it.
func TestAppendJSONLeavesTheRest(t *testing.T) {
	t.Parallel()
	var r v1.Resolved
	is := reflect.ValueOf(&r).Elem()
	for i := range is.NumField() {
		if is.Type().Field(i).Name == "Session" || !is.Field(i).CanSet() {
			continue
		}
		r = v1.Resolved{Session: &v1.Session{}}
		switch f := is.Field(i); f.Kind() {
		case reflect.String:
			f.SetString("x")
		case reflect.Slice:
			f.Set(reflect.ValueOf([]string{"x"}))
		case reflect.Map:
			f.Set(reflect.ValueOf(v1.Headers{"X": "x"}))
		}
		if _, ok := r.AppendJSON(nil); ok {
			t.Errorf("%s was dropped", is.Type().Field(i).Name)
		}
	}
	for _, r := range []v1.Resolved{{}, {Session: &v1.Session{Subject: "\xff"}}, {Session: &v1.Session{Client: v1.Browser{UserAgent: "\xff"}}}} {
		if _, ok := r.AppendJSON(nil); ok {
			t.Errorf("%+v was written", r)
		}
	}
}
