package faults

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// bound is how far a read that isn't strict may lag behind acknowledged writes
// (I10).
const bound = time.Second

// A kind is a kind of request.
type kind uint8

const (
	login  kind = iota + 1 // creates the session
	check                  // a read that may come from memory
	strict                 // a read that may not come from memory
	add                    // appends a number to a list in the session
	rotate                 // a new secret; the earlier ones stay good
	raise                  // elevates: a new secret; the earlier ones are dead
	logout                 // ends the session, by its token
	end                    // ends the session by its ID
	wipe                   // the store lost all data; not a request, but the fault's own entry
)

func (k kind) String() string {
	return [...]string{"", "login", "check", "strict check", "add", "rotate", "raise", "logout", "end", "wipe"}[k]
}

// An outcome is the client's knowledge of what a request did.
type outcome uint8

const (
	done    outcome = iota + 1 // the request was done; for a read: logged in
	refused                    // it was not done because the session has ended or was renewed; for a read: nobody is logged in
	failed                     // it was not done because the store failed
	unknown                    // it may have been done, or may be done later
)

func (o outcome) String() string {
	return [...]string{"", "done", "refused", "failed", "unknown"}[o]
}

// An op is a request with its answer. Times count from the beginning of the
// history.
type op struct {
	client, node int
	kind         kind
	session      string
	level        int // of the presented token: 1 from login, and 1 more for each raise
	n            int // of add
	out          outcome
	seen         []int         // by a read, with done
	seenLevel    int           // by a read, with done
	sent         time.Duration // the request
	got          time.Duration // when the answer came
}

func (o *op) String() string {
	s := fmt.Sprintf("%v–%v node %d: %v", o.sent.Round(time.Millisecond), o.got.Round(time.Millisecond), o.node, o.kind)
	if o.kind == add {
		s += fmt.Sprintf(" %d", o.n)
	}
	s += fmt.Sprintf(" at level %d: %v", o.level, o.out)
	if o.out == done && (o.kind == check || o.kind == strict) {
		s += fmt.Sprintf(" %v at level %d", o.seen, o.seenLevel)
	}
	return s
}

// A state is the model's state of a session.
type state struct {
	phase phase
	level int
	list  string // the numbers added, in order, each with a blank after it
}

type phase uint8

const (
	unborn phase = iota
	live
	over
)

// step reports whether an operation may have its outcome in a state, and
// returns the next state.
func (s state) step(o *op) (bool, state) {
	mine := s.phase == live && s.level == o.level // the token is good
	switch o.kind {
	case login:
		return s.phase == unborn, state{live, 1, ""}
	case check, strict:
		if o.out == refused {
			return !mine, s
		}
		return mine && o.seenLevel == s.level && listOf(o.seen) == s.list, s
	case wipe:
		s.phase = over
		return true, s
	}
	after := s
	switch o.kind {
	case add:
		after.list += strconv.Itoa(o.n) + " "
	case raise:
		after.level++
	case logout, end:
		after.phase = over
	}
	switch {
	case o.out == refused && o.kind == end:
		return s.phase != live, s
	case o.out == refused:
		return !mine, s
	case o.kind == end || o.kind == logout:
		return true, after // a second end succeeds too; the node authorised a logout by what it knew
	case o.out == unknown && !mine:
		return true, s // it comes too late
	default:
		return mine, after
	}
}

func listOf(numbers []int) string {
	var b strings.Builder
	for _, n := range numbers {
		b.WriteString(strconv.Itoa(n) + " ")
	}
	return b.String()
}

var model = porcupine.Model{
	Init: func() any { return state{} },
	Step: func(s, in, _ any) (bool, any) { return s.(state).step(in.(*op)) },
	DescribeOperation: func(in, _ any) string {
		return in.(*op).String()
	},
	DescribeState: func(s any) string { return fmt.Sprintf("%+v", s) },
}

// operations returns the history of one session for porcupine, in the order of
// sending. It leaves open what can't be known:
//
//   - It leaves out a failed request, which did nothing and says nothing about
//     the session. If the request did something after all, a read finds a value
//     that nobody wrote.
//   - A request of unknown outcome may happen at any time after it was sent.
//   - A read that isn't strict may show a state from up to bound before it was
//     sent, so its interval begins earlier by bound. It does not begin before the
//     login was answered, because nobody knew the session then.
//
// A session never returns to an earlier state. So of many reads from memory that
// saw the same, two matter: the one that was answered first, and the one that was
// sent last. The others are left out, because porcupine would try all their
// orders.
func operations(history []*op) (list []porcupine.Operation) {
	shown := map[int]time.Duration{} // when a number was first read
	first, last := map[string]*op{}, map[string]*op{}
	var ends []*op // of unknown outcome
	born := time.Duration(math.MinInt64)
	for _, o := range history {
		for _, n := range o.seen {
			if at, ok := shown[n]; !ok || o.got < at {
				shown[n] = o.got
			}
		}
		switch {
		case o.kind == login && o.out == done:
			born = o.got + 1
		case o.kind == check && (o.out == done || o.out == refused):
			saw := sight(o)
			if f := first[saw]; f == nil || o.got < f.got {
				first[saw] = o
			}
			last[saw] = o
		case o.out == unknown && (o.kind == end || o.kind == logout):
			ends = append(ends, o)
		}
	}
	for _, o := range history {
		p := porcupine.Operation{ClientId: o.client, Input: o, Call: int64(o.sent), Return: int64(o.got)}
		switch {
		case o.out == failed:
			continue
		case o.out == unknown:
			p.Return = math.MaxInt64
			switch o.kind {
			case add:
				at, ok := shown[o.n]
				if !ok {
					continue // nothing shows when it happened, if it did
				}
				p.Return = int64(at)
			case end, logout:
				if o != ends[0] {
					continue // the first of them may happen whenever this one may: one is enough
				}
			case raise, wipe:
			default:
				continue
			}
		case o.kind == check:
			if saw := sight(o); o != first[saw] && o != last[saw] {
				continue
			}
			p.Call = int64(max(o.sent-bound, min(born, o.sent)))
		}
		list = append(list, p)
	}
	return list
}

// sight returns what a read saw.
func sight(o *op) string { return fmt.Sprint(o.out, o.level, o.seenLevel, o.seen) }

// linearizable checks the history of one session. A correct one takes
// milliseconds. A check that times out (Unknown) is a failure too.
func linearizable(history []*op) porcupine.CheckResult {
	return porcupine.CheckOperationsTimeout(model, operations(history), 5*time.Second)
}

// sessions splits a history by session.
func sessions(history []*op) map[string][]*op {
	parts := map[string][]*op{}
	for _, o := range history {
		parts[o.session] = append(parts[o.session], o)
	}
	for _, part := range parts {
		slices.SortStableFunc(part, func(a, b *op) int { return cmp.Compare(a.sent, b.sent) })
	}
	return parts
}
