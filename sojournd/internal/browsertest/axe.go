package browsertest

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/chromedp/chromedp"
)

// NeedAxe skips the test if axe-core isn't installed. With SOJOURN_REQUIRE_ALL
// the test fails instead. Call it before the first Accessible.
func NeedAxe(t *testing.T) {
	t.Helper()
	if _, err := axe(); errors.Is(err, fs.ErrNotExist) && os.Getenv("SOJOURN_REQUIRE_ALL") != "1" {
		t.Skip("needs axe-core: run scripts/install.sh")
	} else if err != nil {
		t.Fatal(err)
	}
}

// axe returns the script of axe-core. Tests run in a directory of the module
// that has it.
func axe() (string, error) {
	const file = "testdata/axe/node_modules/axe-core/axe.min.js"
	for up := "."; len(up) < 20; up = filepath.Join(up, "..") {
		if script, err := os.ReadFile(filepath.Join(up, file)); err == nil || !errors.Is(err, fs.ErrNotExist) {
			return string(script), err
		}
	}
	return "", fs.ErrNotExist
}

// Accessible fails the test if axe-core finds a serious obstacle for people who
// use a screen reader or a keyboard: the rules of WCAG 2.2, levels A and AA, and
// of good practice.
func (b *Tab) Accessible(page string) {
	b.t.Helper()
	script, err := axe()
	if err != nil {
		b.t.Fatal(err)
	}
	b.Do("load axe-core", chromedp.Evaluate[chromedp.Void](script))
	found := b.Eval(`axe.run({resultTypes: ["violations"]}).then(result => result.violations
		.filter(v => v.impact === "serious" || v.impact === "critical")
		.map(v => v.id + ": " + v.help + ": " + v.nodes.map(n => n.html.slice(0, 200) + " (" + n.failureSummary + ")").join("; ")).join("\n"))`)
	if found != "" {
		b.t.Errorf("%s: axe-core finds\n%s", page, found)
	}
}
