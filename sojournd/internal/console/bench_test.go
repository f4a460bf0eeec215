package console

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
)

// BenchmarkLiveEvents shows 50 events a second for ten seconds on a page of events
// in Chromium that already has all the rows that it keeps, and then none. It
// reports the longest time between two frames, and how many tasks the browser
// calls long (above 50 ms):
//
//	go test -run - -bench LiveEvents -benchtime 1x -count 5 ./internal/console
//
// The other figures of the console: make bench ONLY=console.
func BenchmarkLiveEvents(b *testing.B) {
	w := newWorld(b)
	tab := w.tab(b)
	signIn(tab, "ann")
	tab.Visit("/apps/shop/events")
	tab.See("#tail-state", "Live")
	id := w.user(w.shop, "ann", chrome, "192.0.2.7")
	n := 0
	show := func(second int) {
		for range second {
			n++
			w.event("shop", sojourn.EventElevated, func(e *sojourn.Event) {
				e.Subject, e.Session, e.Client = fmt.Sprintf("user-%d", n), id, sojourn.Client{IP: netip.MustParseAddr("192.0.2.7"), UserAgent: chrome}
			})
			time.Sleep(20 * time.Millisecond / time.Duration(max(1, second/50)))
		}
		w.pass(time.Second)
		tab.See("#tail li:first-child", fmt.Sprintf("user-%d", n))
	}
	for n < 1200 {
		show(150)
	}
	for b.Loop() {
		for unit, events := range map[string]int{"": 50, "quiet-": 0} {
			tab.Eval(`window.figures = { frame: 0, tasks: 0 };
				new PerformanceObserver((list) => { figures.tasks += list.getEntries().length; }).observe({ type: "longtask" });
				{ const mine = figures; let last = performance.now();
				const look = (now) => { mine.frame = Math.max(mine.frame, now - last); last = now; if (figures === mine) requestAnimationFrame(look); };
				requestAnimationFrame(look); }
				""`)
			for range 10 {
				show(events)
				if events == 0 {
					time.Sleep(time.Second)
				}
			}
			var figures struct{ Frame, Tasks float64 }
			if err := json.Unmarshal([]byte(tab.Eval(`JSON.stringify(figures)`)), &figures); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(figures.Frame, unit+"longest-frame-ms")
			b.ReportMetric(figures.Tasks, unit+"long-tasks")
		}
		b.ReportMetric(0, "ns/op")
	}
}
