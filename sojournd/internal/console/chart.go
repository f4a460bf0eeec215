package console

import (
	"cmp"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/sojourn-go/sojourn/sojournd/internal/history"
)

// A chart is drawn as SVG by templates/charts.html, with the same figures as a
// table.
type chart struct {
	ID, Title string
	Note      string // explains the title
	Lines     []line
	Stacked   bool      // the lines are bars, one upon the other
	Highest   string    // the label of the top
	Half      string    // and of the middle
	Times     [3]string // the labels below
	Rows      []tableRow
}

// A line is a series of a chart.
type line struct {
	Name  string
	Class string // its colour
	Path  string // of SVG
	Now   string // the newest figure
}

type tableRow struct {
	When  *moment
	Cells []string
}

const (
	chartWidth  = 600
	chartHeight = 120
	tableRows   = 12

	bucketsShown = 60 // bars of a chart
)

// A series has a figure for each moment; NaN is a gap.
type series struct {
	name    string
	class   int // its colour; 0: that of its place in the chart
	figures []float64
}

// unit writes a figure for people.
type unit func(float64) string

func number(f float64) string {
	switch {
	case f == 0 || f >= 10 || f == math.Trunc(f):
		return grouped(int64(math.Round(f)))
	case f < .1:
		return "<0.1"
	}
	return fmt.Sprintf("%.1f", f)
}

// grouped separates thousands.
func grouped(n int64) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "\u202f" + text[i:]
	}
	return text
}

// seconds writes a duration in seconds.
func seconds(f float64) string {
	switch d := time.Duration(f * float64(time.Second)); {
	case d <= 0:
		return "0"
	case d < time.Millisecond:
		return fmt.Sprintf("%.0f µs", float64(d)/1e3)
	case d < time.Second:
		return strings.Replace(fmt.Sprintf("%.1f ms", float64(d)/1e6), ".0 ms", " ms", 1)
	default:
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
}

// draw completes a chart. All series have the same length, and end at until.
func (v *visit) draw(c chart, u unit, until time.Time, step time.Duration, list ...series) chart {
	n := len(list[0].figures)
	top := 0.0
	sums := make([]float64, n)
	for _, s := range list {
		for i, f := range s.figures {
			if math.IsNaN(f) {
				continue
			}
			if sums[i] += f; !c.Stacked {
				sums[i] = f
			}
			top = max(top, sums[i])
		}
	}
	top = ceiling(top)
	base := make([]float64, n)
	for i, s := range list {
		l := line{Name: s.name, Class: fmt.Sprintf("s%d", cmp.Or(s.class, i+1)), Now: "–"}
		if now := s.figures[n-1]; !math.IsNaN(now) {
			l.Now = u(now)
		}
		if c.Stacked {
			l.Path = bars(s.figures, base, top)
		} else {
			l.Path = curve(s.figures, top)
		}
		c.Lines = append(c.Lines, l)
	}
	c.Highest, c.Half = u(top), u(top/2)
	whole := step * time.Duration(n)
	c.Times = [3]string{until.Add(-whole).Format("15:04"), until.Add(-whole / 2).Format("15:04"), until.Format("15:04") + " UTC"}
	c.Rows = v.table(u, until, step, list)
	return c
}

// table returns the newest figures, the newest first.
func (v *visit) table(u unit, until time.Time, step time.Duration, list []series) (rows []tableRow) {
	n := len(list[0].figures)
	for i := n - 1; i >= 0 && len(rows) < tableRows; i -= max(n/60, 1) {
		row := tableRow{When: v.Time(until.Add(-step * time.Duration(n-1-i)))}
		for _, s := range list {
			cell := "–"
			if f := s.figures[i]; !math.IsNaN(f) {
				cell = u(f)
			}
			row.Cells = append(row.Cells, cell)
		}
		rows = append(rows, row)
	}
	return rows
}

// ceiling is the next round number: 1, 2 or 5 times a power of ten.
func ceiling(f float64) float64 {
	if f <= 0 {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(f)))
	for _, m := range []float64{1, 2, 5} {
		if f <= m*power*1.0001 {
			return m * power
		}
	}
	return 10 * power
}

func height(f, top float64) float64 { return chartHeight - f/top*chartHeight }

// curve returns the path of a line with gaps. It leaves out what lies between
// equal figures.
func curve(figures []float64, top float64) string {
	var b strings.Builder
	step := chartWidth / float64(max(len(figures)-1, 1))
	pen, last := 'M', math.NaN()
	for i, f := range figures {
		if math.IsNaN(f) {
			pen, last = 'M', f
			continue
		}
		if f == last && i+1 < len(figures) && figures[i+1] == f {
			continue
		}
		fmt.Fprintf(&b, "%c%.4g %.4g", pen, float64(i)*step, height(f, top))
		if pen == 'M' && (i+1 == len(figures) || math.IsNaN(figures[i+1])) {
			b.WriteString("h.01") // a single point
		}
		pen, last = 'L', f
	}
	return b.String()
}

// bars returns the path of bars upon a base, which it raises by them.
func bars(figures, base []float64, top float64) string {
	var b strings.Builder
	step := chartWidth / float64(len(figures))
	for i, f := range figures {
		if math.IsNaN(f) || f == 0 {
			continue
		}
		high := f / top * chartHeight
		fmt.Fprintf(&b, "M%.4g %.4gh%.3gv%.4gh-%.3gz", float64(i)*step+step*.1, height(base[i]+f, top), step*.8, high, step*.8)
		base[i] += f
	}
	return b.String()
}

// gauge returns one figure of each point. A negative figure is unknown: a gap.
func gauge(points []history.Point, of func(*history.Point) int64) []float64 {
	list := make([]float64, len(points))
	for i := range points {
		if list[i] = math.NaN(); points[i].Recorded && of(&points[i]) >= 0 {
			list[i] = float64(of(&points[i]))
		}
	}
	return list
}

// perMinute adds points up to sixty figures, each of them scaled to a minute. It
// leaves out the newest points, so that a point never moves from one figure to
// another while time passes.
func perMinute(points []history.Point, leave int, step time.Duration, of func(*history.Point) uint32) []float64 {
	group := len(points) / bucketsShown
	list := make([]float64, bucketsShown)
	for i := range list {
		list[i] = math.NaN()
		end := len(points) - leave - (bucketsShown-1-i)*group
		for j := max(end-group, 0); j < end; j++ {
			if p := &points[j]; p.Recorded {
				if math.IsNaN(list[i]) {
					list[i] = 0
				}
				list[i] += float64(of(p)) * float64(time.Minute) / float64(step) / float64(group)
			}
		}
	}
	return list
}

// perSecond returns n numbers of calls, each of them scaled to a second. One that
// was not recorded is a gap.
func perSecond(n int, step time.Duration, of func(int) (calls uint32, recorded bool)) []float64 {
	list := make([]float64, n)
	for i := range list {
		list[i] = math.NaN()
		if calls, recorded := of(i); recorded {
			list[i] = float64(calls) / step.Seconds()
		}
	}
	return list
}

// quantile returns one of the times of calls. A point without calls is a gap.
func quantile(n int, calls func(int) history.Calls, of func(history.Calls) time.Duration) []float64 {
	list := make([]float64, n)
	for i := range list {
		if list[i] = math.NaN(); calls(i).N > 0 {
			list[i] = of(calls(i)).Seconds()
		}
	}
	return list
}

func p50(c history.Calls) time.Duration { return c.P50 }
func p99(c history.Calls) time.Duration { return c.P99 }

// notEmpty leaves out series without any figure above 0, and keeps at least the
// first.
func notEmpty(list []series) (kept []series) {
	for _, s := range list {
		for _, f := range s.figures {
			if f > 0 {
				kept = append(kept, s)
				break
			}
		}
	}
	if kept == nil {
		return list[:min(1, len(list))]
	}
	return kept
}

// words makes a name of code readable.
func words(name string) string { return cmp.Or(strings.ReplaceAll(name, "_", " "), "other") }
