package faults

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// A verdict is the result of checking a history.
type verdict struct {
	late     []string            // requests answered as logged in later than the bound after their session's acknowledged end
	lost     []string            // acknowledged additions that a later read lacks, or reads that show impossible values
	strange  []string            // sessions whose history no order of the requests explains, by session
	sessions map[string][]string // the problems in lost and strange, by session
	unsure   []string            // histories that porcupine gave up on
	checked  int                 // sessions that were checked
}

func (v *verdict) problems() []string {
	return slices.Concat(v.late, v.lost, v.strange)
}

// judge checks a history, session by session. It skips the sessions in except.
func judge(history []*op, except map[string]bool) *verdict {
	v := &verdict{sessions: map[string][]string{}}
	for session, part := range sessions(history) {
		if session == "" || except[session] {
			continue
		}
		v.late = append(v.late, lateAnswers(part)...)
		lost := lostUpdates(part)
		v.lost = append(v.lost, lost...)
		if len(lost) > 0 {
			v.sessions[session] = lost
		}
		switch linearizable(part) {
		case porcupine.Illegal:
			strange := "no order explains session " + session + ":" + text(part)
			v.strange = append(v.strange, strange)
			v.sessions[session] = append(v.sessions[session], strange)
		case porcupine.Unknown:
			v.unsure = append(v.unsure, "it takes too long to find an order for session "+session+":"+text(part))
		}
		v.checked++
	}
	return v
}

func text(part []*op) string {
	var b strings.Builder
	for _, o := range part {
		b.WriteString("\n\t" + o.String())
	}
	return b.String()
}

// lateAnswers finds requests that were answered as logged in although they were
// sent after their session's end was acknowledged. Reads that may come from
// memory count only if they were sent more than bound after it.
func lateAnswers(part []*op) (found []string) {
	ended := time.Duration(-1)
	for _, o := range part {
		if (o.kind == logout || o.kind == end) && o.out == done && (ended < 0 || o.got < ended) {
			ended = o.got
		}
	}
	if ended < 0 {
		return nil
	}
	for _, o := range part {
		var allowed time.Duration
		switch o.kind {
		case check:
			allowed = bound
		case strict, add, rotate, raise:
		default:
			continue
		}
		if o.out == done && o.sent > ended+allowed {
			found = append(found, fmt.Sprintf("session %s ended at %v, and then: %v", o.session, ended.Round(time.Millisecond), o))
		}
	}
	return found
}

// lostUpdates compares acknowledged additions with the reads.
func lostUpdates(part []*op) (found []string) {
	added := map[int]*op{}
	for _, o := range part {
		if o.kind == add {
			added[o.n] = o
		}
	}
	for _, o := range part {
		if o.kind != strict || o.out != done {
			continue
		}
		for n, a := range added {
			if a.out == done && a.got < o.sent && !slices.Contains(o.seen, n) {
				found = append(found, fmt.Sprintf("session %s lost %d: %v; %v", o.session, n, a, o))
			}
		}
		for i, n := range o.seen {
			switch a := added[n]; {
			case a == nil || slices.Contains(o.seen[:i], n):
				found = append(found, fmt.Sprintf("session %s has %d, which was not added, or once: %v", o.session, n, o))
			case a.out == failed || a.out == refused:
				found = append(found, fmt.Sprintf("session %s has %d, which it was said not to: %v; %v", o.session, n, a, o))
			}
		}
	}
	return found
}

// within counts the requests that were sent in a period, to some nodes or to
// all.
func within(history []*op, from, to time.Duration, nodes ...int) (all, there int) {
	for _, o := range history {
		if o.sent < from || o.sent > to {
			continue
		}
		all++
		if slices.Contains(nodes, o.node) {
			there++
		}
	}
	return all, there
}
