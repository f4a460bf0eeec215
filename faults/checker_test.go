package faults

import (
	"strings"
	"testing"
	"time"
)

// at makes operations of one session, to test the checks. Times are in
// milliseconds.
func at(sent, got int, k kind, level int, out outcome, more ...any) *op {
	o := &op{session: "s", kind: k, level: level, out: out, sent: ms(sent), got: ms(got)}
	for _, m := range more {
		switch m := m.(type) {
		case int:
			o.n = m
		case []int:
			o.seen, o.seenLevel = m, level
		}
	}
	return o
}

func ms(n int) time.Duration { return time.Duration(n) * time.Millisecond }

// TestCheckerAccepts: a correct cluster may produce these histories.
func TestCheckerAccepts(t *testing.T) {
	for name, history := range map[string][]*op{
		"a life": {
			at(0, 10, login, 1, done), at(20, 30, add, 1, done, 1), at(21, 40, add, 1, done, 2), at(50, 60, strict, 1, done, []int{2, 1}),
			at(70, 80, raise, 1, done), at(90, 95, strict, 1, refused), at(90, 95, strict, 2, done, []int{2, 1}), at(100, 110, logout, 2, done),
			at(120, 130, strict, 2, refused), at(120, 130, add, 2, refused, 3),
		},
		"a read from memory lags behind": {
			at(0, 10, login, 1, done), at(20, 30, add, 1, done, 1), at(900, 905, check, 1, done, []int{}), at(910, 920, end, 0, done),
			at(1900, 1910, check, 1, done, []int{1}),
		},
		"an unknown outcome happened": {
			at(0, 10, login, 1, done), at(20, 30, add, 1, unknown, 1), at(40, 50, strict, 1, done, []int{}), at(60, 70, strict, 1, done, []int{1}),
		},
		"an unknown outcome did not happen": {
			at(0, 10, login, 1, done), at(20, 30, add, 1, unknown, 1), at(20, 30, end, 0, unknown), at(20, 30, raise, 1, unknown),
			at(40, 50, add, 1, done, 2), at(60, 70, strict, 1, done, []int{2}),
		},
		"an unknown end happened": {
			at(0, 10, login, 1, done), at(20, 30, end, 0, unknown), at(40, 50, strict, 1, done, []int{}), at(60, 70, strict, 1, refused),
			at(80, 90, end, 0, refused),
		},
		"an unknown elevation happened": {
			at(0, 10, login, 1, done), at(20, 30, raise, 1, unknown), at(60, 70, strict, 1, refused), at(80, 90, end, 0, done),
		},
		"side by side": {
			at(0, 10, login, 1, done), at(20, 100, end, 0, done), at(20, 100, add, 1, done, 1), at(20, 100, strict, 1, done, []int{1}),
			at(20, 100, strict, 1, refused), at(20, 100, strict, 1, done, []int{}),
		},
		"everything was lost": {
			at(0, 10, login, 1, done), at(20, 30, add, 1, done, 1), at(40, 60, wipe, 0, done), at(70, 80, strict, 1, refused), at(90, 100, end, 0, refused),
		},
	} {
		if v := judge(history, nil); len(v.problems()) > 0 || len(v.unsure) > 0 || v.checked != 1 {
			t.Errorf("%s: %+v", name, v)
		}
	}
}

// TestCheckerFinds: each history is wrong in one way. The named checks must
// notice it.
func TestCheckerFinds(t *testing.T) {
	for name, c := range map[string]struct {
		history []*op
		by      string // which checks must notice it: late, lost, strange
	}{
		"I4 resurrection": {[]*op{
			at(0, 10, login, 1, done), at(20, 30, logout, 1, done), at(40, 50, strict, 1, refused), at(60, 70, strict, 1, done, []int{}),
		}, "late strange"},
		"I4 resurrection by an unknown write": {[]*op{
			at(0, 10, login, 1, done), at(15, 16, add, 1, unknown, 1), at(20, 30, end, 0, done), at(40, 50, strict, 1, refused), at(2060, 2070, check, 1, done, []int{1}),
		}, "late strange"},
		"I10 a read from memory beyond the bound": {[]*op{
			at(0, 10, login, 1, done), at(20, 30, end, 0, done), at(1031, 1040, check, 1, done, []int{}),
		}, "late strange"},
		"I10 an old value beyond the bound": {[]*op{
			at(0, 10, login, 1, done), at(20, 30, add, 1, done, 1), at(1031, 1040, check, 1, done, []int{}),
		}, "strange"},
		"I3 an old secret beyond the bound": {[]*op{
			at(0, 10, login, 1, done), at(20, 30, raise, 1, done), at(1031, 1040, check, 1, done, []int{}),
		}, "strange"},
		"a strict read goes back": {[]*op{
			at(0, 10, login, 1, done), at(20, 30, add, 1, unknown, 1), at(40, 50, strict, 1, done, []int{1}), at(60, 70, strict, 1, done, []int{}),
		}, "strange"},
		"I5 a lost update": {[]*op{
			at(0, 10, login, 1, done), at(20, 30, add, 1, done, 1), at(20, 30, add, 1, done, 2), at(60, 70, strict, 1, done, []int{2}),
		}, "lost strange"},
		"I5 an update happens twice": {[]*op{
			at(0, 10, login, 1, done), at(20, 30, add, 1, unknown, 1), at(60, 70, strict, 1, done, []int{1, 1}),
		}, "lost strange"},
		"I6 a failure that was none": {[]*op{
			at(0, 10, login, 1, done), at(20, 30, add, 1, failed, 1), at(60, 70, strict, 1, done, []int{1}),
		}, "lost strange"},
		"I6 a refusal that was none": {[]*op{
			at(0, 10, login, 1, done), at(20, 30, add, 1, refused, 1), at(60, 70, strict, 1, done, []int{}),
		}, "strange"},
		"I6 an end that didn't happen": {[]*op{
			at(0, 10, login, 1, done), at(20, 30, end, 0, failed), at(60, 70, strict, 1, refused),
		}, "strange"},
		"I9 logged out though nobody ended it": {[]*op{
			at(0, 10, login, 1, done), at(60, 70, check, 1, refused), at(1500, 1510, check, 1, refused), at(1600, 1610, strict, 1, done, []int{}),
		}, "strange"},
		"I13 a write by an old authority": {[]*op{
			at(0, 10, login, 1, done), at(20, 30, raise, 1, done), at(60, 70, add, 1, done, 1),
		}, "strange"},
	} {
		v := judge(c.history, nil)
		for what, found := range map[string][]string{"late": v.late, "lost": v.lost, "strange": v.strange} {
			if got, want := len(found) > 0, strings.Contains(c.by, what); got != want {
				t.Errorf("%s: %s sees it: %v, want %v", name, what, got, want)
			}
		}
	}
}

// TestExcused: a failover explains the losses that it may cause, and no others.
func TestExcused(t *testing.T) {
	const second = 1000
	seen := func(o outcome, got int) []*op { // an addition that was read and then lost
		return []*op{
			at(-5*second, -5*second+10, login, 1, done), at(100, got, add, 1, o, 1), at(got, got+10, strict, 1, done, []int{1}),
			at(3*second, 3*second+10, strict, 1, done, []int{}),
		}
	}
	undone := []*op{
		at(-5*second, -5*second+10, login, 1, done), at(100, 200, end, 0, done), at(3*second, 3*second+10, strict, 1, done, []int{}),
	}
	for name, c := range map[string]struct {
		history []*op
		fault   fault
		excused bool
	}{
		"a write that was cut short":                 {seen(unknown, 100+second), fault{cutShort: true}, true},
		"one whose outcome was unknown at once":      {seen(unknown, 200), fault{cutShort: true}, false},
		"one that was acknowledged":                  {seen(done, 100+second), fault{cutShort: true}, false},
		"the same, where nobody waits":               {seen(done, 200), fault{failover: true}, true},
		"an end":                                     {undone, fault{cutShort: true}, false},
		"an end, where only other writes get lost":   {undone, fault{failover: true}, false},
		"an end, where nobody waits":                 {undone, fault{failover: true, undoes: true}, true},
		"a write that was cut short, without reason": {seen(unknown, 100+second), fault{failover: true}, false},
	} {
		v := judge(c.history, nil)
		if len(v.problems()) == 0 {
			t.Errorf("%s: there is nothing to excuse", name)
		}
		s := &site{T: t}
		if problems := s.excused(v, c.history, 0, ms(2*second), &c.fault); len(problems) == 0 != c.excused {
			t.Errorf("%s: %q", name, problems)
		}
	}
}
