package app

import (
	"io"
	"os"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// barAfter is the time after which a bar appears.
const barAfter = 500 * time.Millisecond

// During runs work that reports its progress. It shows a bar if w is a terminal
// and the work takes longer than barAfter.
func During(w io.Writer, what string, work func(report func(done, total int64)) error) error {
	f := terminal(w)
	if f == nil {
		return work(func(int64, int64) {})
	}
	b := &bar{w: f, what: what, began: time.Now(), after: barAfter}
	defer b.clear()
	tick := time.NewTicker(time.Second) // reports may be rare
	defer tick.Stop()
	done := make(chan error, 1)
	go func() { done <- work(b.show) }()
	for {
		select {
		case err := <-done:
			return err
		case <-tick.C:
			b.redraw()
		}
	}
}

// terminal returns w if it is a terminal that can draw a bar, else nil.
func terminal(w io.Writer) *os.File {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) || os.Getenv("TERM") == "dumb" {
		return nil
	}
	return f
}

// A bar shows progress on a terminal. Its methods may be called concurrently.
type bar struct {
	w     io.Writer
	what  string
	began time.Time
	after time.Duration

	mu    sync.Mutex               // guards drawn
	drawn *progressbar.ProgressBar // nil until the bar appears
}

// show draws the progress. It is a sqlitestore.Progress.
func (b *bar) show(done, total int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.drawn == nil && time.Since(b.began) >= b.after {
		b.drawn = progressbar.NewOptions64(max(total, 1), progressbar.OptionSetWriter(b.w), progressbar.OptionSetDescription(b.what),
			progressbar.OptionSetWidth(40), progressbar.OptionThrottle(100*time.Millisecond),
			progressbar.OptionSetPredictTime(false), progressbar.OptionSetElapsedTime(true), progressbar.OptionClearOnFinish())
	}
	if b.drawn != nil {
		b.drawn.ChangeMax64(max(total, 1))
		_ = b.drawn.Set64(min(done, total)) // the terminal may be gone
	}
}

// redraw updates the time.
func (b *bar) redraw() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.drawn != nil {
		_ = b.drawn.RenderBlank()
	}
}

// clear removes the bar.
func (b *bar) clear() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.drawn != nil {
		_ = b.drawn.Clear()
	}
}
