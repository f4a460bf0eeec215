package sojourn_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/sojourn-go/sojourn"
)

type rawValues = map[string]json.RawMessage

// valuesOf returns the values that a request of j sees.
func (w *world) valuesOf(j *jar) string {
	w.Helper()
	s := w.begin(j)
	defer s.Finish()
	return string(s.Snapshot().Values)
}

func TestValuesByName(t *testing.T) {
	w := newWorld(t)
	j := new(jar)
	w.visit(j, func(s *sojourn.Session) error {
		if keys, err := s.Keys(); err != nil || len(keys) != 0 {
			t.Errorf("a visitor without a session: %v, %v", keys, err)
		}
		return errors.Join(count.Set(s, 2), color.Set(s, "red"), s.SetValue("a", json.RawMessage(` {"b": [null]} `)))
	})
	s := w.begin(j)
	for key, want := range map[string]string{"a": `{"b":[null]}`, "color": `"red"`, "count": "2"} {
		if raw, ok, err := s.Value(key); err != nil || !ok || string(raw) != want {
			t.Errorf("%s: %s, %v, %v, want %s", key, raw, ok, err, want)
		}
	}
	if raw, ok, err := s.Value("absent"); err != nil || ok || raw != nil {
		t.Errorf("absent: %s, %v, %v", raw, ok, err)
	}
	raw, _, _ := s.Value("color")
	copy(raw, `"xxx`) // the caller's own
	if c, _ := color.Get(s); c != "red" {
		t.Errorf("the caller's change of a returned value is in the session: %q", c)
	}
	if err := errors.Join(count.Delete(s), cart.Set(s, nil)); err != nil {
		t.Fatal(err)
	}
	keys, err := s.Keys()
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "keys with the request's changes", keys, []string{"a", "cart", "color"})
	w.answer(j, s)
	s.Finish()
	if _, _, err := s.Value("color"); !errors.Is(err, sojourn.ErrFinished) {
		t.Errorf("Value after the request: %v", err)
	}
	if _, err := s.Keys(); !errors.Is(err, sojourn.ErrFinished) {
		t.Errorf("Keys after the request: %v", err)
	}
}

func TestClearKeepsTheSession(t *testing.T) {
	w := newWorld(t)
	j := w.loggedIn("ann")
	w.visit(j, func(s *sojourn.Session) error { return errors.Join(color.Set(s, "red"), count.Set(s, 1)) })
	id := w.id(j)
	w.visit(j, func(s *sojourn.Session) error {
		err := errors.Join(s.Clear(), count.Set(s, 5))
		if got := string(s.Snapshot().Values); got != `{"count":5}` {
			t.Errorf("within the request: %s", got)
		}
		return err
	})
	w.want("values", w.valuesOf(j), `{"count":5}`)
	w.want("the user", w.look(j), "ann")
	w.want("the session", w.id(j), id)
}

// I8: to clear what isn't there is no reason to start a session.
func TestI8ClearStartsNothing(t *testing.T) {
	w := newWorld(t, watched)
	j := new(jar)
	w.visit(j, func(s *sojourn.Session) error { return errors.Join(s.Clear(), s.ReplaceValues(nil)) })
	w.want("the cookie", *j, jar{})
	w.visit(j, func(s *sojourn.Session) error { return s.ReplaceValues(rawValues{"a": json.RawMessage("1")}) })
	w.want("values", w.valuesOf(j), `{"a":1}`)
}

func TestReplaceValuesRefuses(t *testing.T) {
	w := newWorld(t, options(func(o *sojourn.Options) { o.MaxValue, o.MaxSession, o.MaxDepth = 100, 1000, 3 }))
	j := w.loggedIn("ann")
	w.visit(j, func(s *sojourn.Session) error { return color.Set(s, "red") })
	many := rawValues{}
	for i := range 20 {
		many[fmt.Sprint(i)] = json.RawMessage(`"` + strings.Repeat("x", 80) + `"`)
	}
	for name, c := range map[string]struct {
		values rawValues
		want   error
	}{
		"a value too large":  {rawValues{"a": many["0"], "b": json.RawMessage(`"` + strings.Repeat("x", 200) + `"`)}, sojourn.ErrTooLarge},
		"together too large": {many, sojourn.ErrTooLarge},
		"too deep":           {rawValues{"a": json.RawMessage("[[[[]]]]")}, sojourn.ErrValue},
		"no JSON":            {rawValues{"a": json.RawMessage("{")}, sojourn.ErrValue},
		"empty":              {rawValues{"a": nil}, sojourn.ErrValue},
		"no UTF-8":           {rawValues{"a": json.RawMessage("\"\xff\"")}, sojourn.ErrValue},
		"NUL":                {rawValues{"a": json.RawMessage(`"\u0000"`)}, sojourn.ErrValue},
		"an empty key":       {rawValues{"": json.RawMessage("1")}, sojourn.ErrValue},
		"a key with LF":      {rawValues{"a\nb": json.RawMessage("1")}, sojourn.ErrValue},
	} {
		w.visit(j, func(s *sojourn.Session) error {
			if err := s.ReplaceValues(c.values); !errors.Is(err, c.want) {
				t.Errorf("%s: %v, want %v", name, err, c.want)
			}
			return nil
		})
	}
	w.want("values", w.valuesOf(j), `{"color":"red"}`)
}

// I5: parallel replacements never mix, and what a request sets after them
// lands beside them.
func TestI5ReplacementsDontMix(t *testing.T) {
	w := newWorld(t)
	j := w.loggedIn("ann")
	const n = 32
	nodes := []*world{w, w.node(), w.node()}
	var ready, wg sync.WaitGroup
	ready.Add(n)
	for i := range n {
		wg.Go(func() {
			s := nodes[i%len(nodes)].begin(j)
			values := rawValues{}
			for k := range 3 + i%3 { // also other keys
				values[fmt.Sprintf("key%d", k)] = json.RawMessage(fmt.Sprint(i))
			}
			err := s.ReplaceValues(values)
			ready.Done()
			ready.Wait() // all have read the same revision
			if err = errors.Join(err, s.Commit(ctx)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	var values map[string]int
	if err := json.Unmarshal([]byte(w.valuesOf(j)), &values); err != nil {
		t.Fatal(err)
	}
	writers := slices.Compact(slices.Sorted(maps.Values(values)))
	if len(writers) != 1 || len(values) != 3+writers[0]%3 {
		t.Errorf("the values are of several requests: %v", values)
	}

	// A Clear that commits last removes what came before it. An Update that
	// commits after it begins with nothing.
	clear, update := w.begin(j), nodes[1].begin(j)
	key := sojourn.NewKey[int]("key0")
	if err := errors.Join(clear.Clear(), key.Update(update, increment)); err != nil {
		t.Fatal(err)
	}
	w.answer(j, clear)
	w.answer(j, update)
	w.want("values", w.valuesOf(j), `{"key0":1}`)
}
