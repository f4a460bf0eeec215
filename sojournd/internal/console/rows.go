package console

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/sojourn-go/sojourn/sojournd/internal/api/v1"
)

// rowsPerSecond bounds what a stream costs the server and the browser. Faster
// events are counted, and told in one row.
const rowsPerSecond = 200

// rows replaces the events in a stream by rows of HTML. Of an event that is not
// wanted it passes only the ID, so that the browser resumes after it.
type rows struct {
	http.ResponseWriter
	visit  *visit
	filter *filter

	second  time.Time // to which sent belongs
	sent    int
	skipped int
}

// Unwrap lets http.ResponseController find what the writer can do.
func (w *rows) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Write gets whole frames.
func (w *rows) Write(frame []byte) (int, error) {
	if _, err := w.ResponseWriter.Write(w.translate(frame)); err != nil {
		return 0, err
	}
	return len(frame), nil
}

func (w *rows) translate(frame []byte) []byte {
	head, data, isEvent := bytes.Cut(frame, []byte("\ndata: "))
	id, _, _ := bytes.Cut(head, []byte("\n"))
	if !isEvent {
		if w.skipped > 0 { // a ping, so it is quiet
			return []byte("event: row\ndata: " + w.more(w.visit.now()) + "\n\n")
		}
		return frame // a comment
	}
	var e v1.Event
	if json.Unmarshal(data, &e) != nil || !w.filter.matches(&e) {
		return slices.Concat(id, []byte("\n\n")) // the frame is the ring's
	}
	if now := w.visit.Now().Truncate(time.Second); !now.Equal(w.second) {
		w.second, w.sent = now, 0
	}
	if w.sent++; w.sent > rowsPerSecond && e.Kind != v1.KindGap {
		w.skipped++
		return slices.Concat(id, []byte("\n\n"))
	}
	var b strings.Builder
	b.Write(id)
	b.WriteString("\nevent: row\ndata: ")
	if w.skipped > 0 {
		b.WriteString(w.more(e.Time))
	}
	b.WriteString(w.row(e))
	b.WriteString("\n\n")
	return []byte(b.String())
}

// more returns a row for the events that were skipped.
func (w *rows) more(at time.Time) string {
	detail := grouped(int64(w.skipped)) + " events came faster than this page shows them; the download has them"
	w.skipped = 0
	return w.row(v1.Event{Kind: v1.KindGap, Time: at, App: w.visit.app.Name, Detail: detail})
}

// row returns the HTML of an event, as one line: it writes control characters of
// the event out.
func (w *rows) row(e v1.Event) string {
	var b strings.Builder
	if err := pages["events"].ExecuteTemplate(&b, "row", eventRow{e}); err != nil {
		w.visit.Log.Error("console: a row failed", "err", err)
	}
	return strings.ReplaceAll(b.String(), "\n", " ")
}
