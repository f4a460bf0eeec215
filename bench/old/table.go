package main

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// A table is written as Markdown with its columns aligned.
type table struct {
	head []string
	rows [][]string
}

func (t table) write(w io.Writer) {
	widths := make([]int, len(t.head))
	for i := range widths {
		widths[i] = 3 // of the rule beneath the head
	}
	for _, row := range append([][]string{t.head}, t.rows...) {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	line := func(row []string) {
		for i, cell := range row {
			fmt.Fprint(w, "| ", cell, strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)), " ")
		}
		fmt.Fprintln(w, "|")
	}
	fmt.Fprintln(w)
	line(t.head)
	rule := make([]string, len(widths))
	for i, n := range widths {
		rule[i] = strings.Repeat("-", n)
	}
	line(rule)
	for _, row := range t.rows {
		line(row)
	}
}

// duration writes nanoseconds with three digits.
func duration(ns float64) string {
	switch {
	case ns < 1e3:
		return digits(ns) + " ns"
	case ns < 1e6:
		return digits(ns/1e3) + " µs"
	case ns < 1e9:
		return digits(ns/1e6) + " ms"
	default:
		return digits(ns/1e9) + " s"
	}
}

func digits(x float64) string {
	switch {
	case x < 10:
		return fmt.Sprintf("%.2f", x)
	case x < 100:
		return fmt.Sprintf("%.1f", x)
	default:
		return fmt.Sprintf("%.0f", x)
	}
}

func ratio(x float64) string {
	if x < 10 {
		return fmt.Sprintf("%.2g", x)
	}
	return fmt.Sprintf("%.0f", x)
}

func size(bytes float64) string {
	switch {
	case bytes < 1e6:
		return digits(bytes/1e3) + " KB"
	case bytes < 1e9:
		return digits(bytes/1e6) + " MB"
	default:
		return digits(bytes/1e9) + " GB"
	}
}
