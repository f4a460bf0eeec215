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

// bound is how long a read that isn't strict may lag behind what was acknowledged (I10).
const bound = time.Second

// A kind is what a request asks for.
type kind uint8

const (
	login  kind = iota + 1 // makes the session
	check                  // a read that may come from memory
	strict                 // one that may not
	add                    // appends a number to a list in the session
	rotate                 // a new secret; those before stay good
	raise                  // elevates: a new secret, and those before are dead
	logout                 // ends the session, by its token
	end                    // ends it by its ID
	wipe                   // the store lost everything: no request, but the fault's own
)

func (k kind) String() string {
	return [...]string{"", "login", "check", "strict check", "add", "rotate", "raise", "logout", "end", "wipe"}[k]
}

// An outcome is what the client was told.
type outcome uint8

const (
	done    outcome = iota + 1 // it happened; for reads: logged in
	refused                    // it didn't: the session is over, or renewed since; for reads: nobody is logged in
	failed                     // it didn't: the store can't
	unknown                    // it may have happened, or may yet
)

func (o outcome) String() string {
	return [...]string{"", "done", "refused", "failed", "unknown"}[o]
}

// An op is a request and its answer. Times are since the beginning of the history.
type op struct {
	client, node int
	kind         kind
	session      string
	level        int // that the presented token was issued at: 1 from login, one more for each raise
	n            int // of add
	out          outcome
	seen         []int         // by a read, with done
	seenLevel    int           // the same
	sent         time.Duration // the request
	got          time.Duration // the answer
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

// A state is a session's: what the model says of it.
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

// step says whether an operation may have its outcome in a state, and which state follows.
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
		return true, after // a second end is done as well; a logout was authorised by what the node knew
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

// operations returns the history of one session, in the order of sending, as porcupine takes it. What can't be known is left open:
//
//   - a request that failed did nothing, and says nothing about the session, so it isn't there; if it did something after all,
//     a read finds what nobody wrote;
//   - one whose outcome is unknown may happen at any time after it was sent;
//   - a read that isn't strict may tell what was so up to bound before it was sent: its interval begins so much earlier, but not
//     before the login was answered, for nobody can have asked for the session before.
//
// A session never returns to a state that it has left. So of many reads from memory that saw the same, two say it all: that which was
// answered first, and that which was sent last. The others are left out; porcupine would try in which order they came.
func operations(history []*op) (list []porcupine.Operation) {
	shown := map[int]time.Duration{} // by when a number was there
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
					continue // nothing tells when it happened, if it did
				}
				p.Return = int64(at)
			case end, logout:
				if o != ends[0] {
					continue // the first of them may happen whenever this one may, and one is enough
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

// sight is what a read saw.
func sight(o *op) string { return fmt.Sprint(o.out, o.level, o.seenLevel, o.seen) }

// linearizable checks the history of one session. A right one takes milliseconds; what takes so long as to be Unknown is a failure too.
func linearizable(history []*op) porcupine.CheckResult {
	return porcupine.CheckOperationsTimeout(model, operations(history), 5*time.Second)
}

// sessions divides a history.
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
