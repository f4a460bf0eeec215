package memstore

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/sojourn-go/sojourn/store"
)

// A list has what was added, in order, without what was removed.
func TestSubjectLists(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	var ss subjectShard
	defer ss.close()
	want := map[uint32][]link{}
	for range 5000 {
		tag := rnd.Uint32N(50)
		links := want[tag]
		some := func() link { return linkOf(uint8(rnd.Uint32()), 1+rnd.Uint32N(noHandle)) }
		switch n := len(links); rnd.IntN(4) {
		case 0:
			if n > 0 {
				gone := []link{links[rnd.IntN(n)], links[rnd.IntN(n)], some()}
				ss.remove(tag, slices.Clone(gone)...)
				links = slices.DeleteFunc(links, func(l link) bool { return slices.Contains(gone, l) })
			}
		case 1:
			if n > 0 {
				links[n-1] = some()
				ss.replaceLast(tag, links[n-1])
			}
		case 2:
			if rnd.IntN(50) == 0 {
				ss.remove(tag, links...)
				links = nil
			}
		default:
			for range 1 + rnd.IntN(3) {
				l := some()
				if err := ss.add(tag, l); err != nil {
					t.Fatal(err)
				}
				links = append(links, l)
			}
		}
		want[tag] = links
		for tag, links := range want {
			if got := ss.list(nil, tag); !slices.Equal(got, links) || ss.count(tag) != len(links) {
				t.Fatalf("list %d is %v, want %v", tag, got, links)
			}
		}
	}
	for tag, links := range want {
		ss.remove(tag, links...)
	}
	if ss.index.Len() != 0 || ss.lists.Bytes() != int64(ss.lists.End())*4 {
		t.Errorf("%d entries and %d bytes are left of empty lists", ss.index.Len(), ss.lists.Bytes())
	}
}

// End removes a session's link in a second step. Meanwhile another session of
// the subject may have got the link.
func TestLinkOfAnotherSession(t *testing.T) {
	s := New()
	defer s.Close()
	rnd := rand.New(rand.NewPCG(1, 2))
	rec := typical(rnd, 0)
	if err := create(s, rec); err != nil {
		t.Fatal(err)
	}
	a := s.apps.Find("shop")
	sub := s.subject(a, rec.Subject)
	links := sub.ss.list(nil, tagOf(sub.hash))
	if len(links) != 1 {
		t.Fatalf("the subject has the links %v", links)
	}
	s.willLeave(sub.hash)
	s.leave(sub.hash, links[0]) // as if a session that has ended had had it before
	list, _, err := s.List(ctx, "shop", store.ListOptions{Subject: rec.Subject, Limit: 10, Now: rec.CreatedAt})
	if err != nil || len(list) != 1 || list[0].ID != rec.ID {
		t.Errorf("the subject has %v, %v", list, err)
	}
	if _, err := s.End(ctx, "shop", rec.ID, store.ReasonLogout, rec.CreatedAt); err != nil {
		t.Fatal(err)
	}
	if links := sub.ss.list(nil, tagOf(sub.hash)); len(links) != 0 {
		t.Errorf("an ended session is still listed: %v", links)
	}
}
