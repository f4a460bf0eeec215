package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/internal/servertest"
	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/memstore"
)

// An operator is signed in at the console of a server.
type operator struct{ site, cookie string }

const operatorPassword = "correct horse battery"

// consoleConfig goes behind serverConfig. The samples are the sessions of the
// application default.
const consoleConfig = `  - name: default
console:
  listen: ["%s"]
  operators: [{name: ada, hash: "%s", roles: {"*": end}}]
`

// startConsole starts a server with a console, and signs in.
func startConsole(b *testing.B, file storeFile) (*server, *operator) {
	var account struct{ Hash string }
	add := exec.Command(sojournd(), "operators", "add", "ada", "--json")
	add.Stdin = strings.NewReader(operatorPassword + "\n")
	check(json.Unmarshal(must(add.Output()), &account))
	address := freeAddress()
	s := startServer(b, file, fmt.Sprintf(consoleConfig, address, account.Hash))
	b.Cleanup(s.stop)
	o := &operator{site: "http://" + address}
	r := must(http.NewRequest("POST", o.site+"/sign-in", strings.NewReader(url.Values{"name": {"ada"}, "password": {operatorPassword}}.Encode())))
	r.Header = http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "Origin": {o.site}, "Sec-Fetch-Site": {"same-origin"}}
	res := must(http.DefaultTransport.RoundTrip(r))
	defer res.Body.Close()
	for _, c := range res.Cookies() {
		o.cookie += c.Name + "=" + c.Value + "; "
	}
	if res.StatusCode != http.StatusSeeOther {
		b.Fatal("sign in: ", res.Status)
	}
	return s, o
}

// get returns what a path answers, after redirects.
func (o *operator) get(ctx context.Context, path string) *http.Response {
	r := must(http.NewRequestWithContext(ctx, "GET", o.site+path, nil))
	r.Header = http.Header{"Cookie": {o.cookie}, "Accept": {"text/html"}, "Sec-Fetch-Mode": {"navigate"}, "Sec-Fetch-Site": {"same-origin"}, "Accept-Encoding": {"gzip"}}
	res := must(http.DefaultTransport.RoundTrip(r))
	if to := res.Header.Get("Location"); to != "" {
		res.Body.Close()
		return o.get(ctx, to)
	}
	if res.StatusCode != http.StatusOK {
		panic(path + ": " + res.Status)
	}
	return res
}

// page returns a page's HTML.
func (o *operator) page(path string) []byte {
	res := o.get(context.Background(), path)
	defer res.Body.Close()
	return must(io.ReadAll(res.Body))
}

var (
	staticFile = regexp.MustCompile(`(?:href|src)="(/static/[^"]+)"`)
	nextPage   = regexp.MustCompile(`<a [^>]*rel="next" href="([^"]+)"`)
	foundRow   = regexp.MustCompile(`<tbody>\s*<tr|class="card device"`)
)

// next returns the path of the page that follows, empty behind the last one.
func next(page []byte) string {
	if match := nextPage.FindSubmatch(page); match != nil {
		return strings.ReplaceAll(string(match[1]), "&amp;", "&")
	}
	return ""
}

const (
	sessionsPath = "/apps/default/sessions"
	commonAgent  = sessionsPath + "?browser=chrome%2F101.0.4001.1" // of one session in a thousand
	nobodyAgent  = sessionsPath + "?browser=netscape"
)

// BenchmarkConsole measures the console over a million sessions in the embedded
// store: pages, as a browser loads them for the first time, a search, and what a
// search and an open console cost the checks of a proxy.
func BenchmarkConsole(b *testing.B) {
	servertest.Need(b, "wrk")
	s, o := startConsole(b, liveFile(b))
	for _, c := range []struct{ name, path string }{
		{"overview", "/"}, {"list", sessionsPath}, {"subject", "/find?q=" + userID(777)}, {"filter", commonAgent},
	} {
		b.Run("case="+c.name+"/peer=sojourn", func(b *testing.B) {
			size := 0
			var took latencies
			for b.Loop() {
				for range sized(20, 1) {
					start := time.Now()
					page := o.page(c.path)
					size = len(page)
					for _, file := range staticFile.FindAllSubmatch(page, -1) {
						size += len(o.page(string(file[1])))
					}
					took = append(took, time.Since(start))
					if c.path != "/" && !foundRow.Match(page) && !testing.Short() {
						b.Fatalf("nothing found:\n%s", page)
					}
				}
			}
			b.ReportMetric(float64(size), "transferred-B")
			b.ReportMetric(0, "ns/op")
			took.report(b.ReportMetric, "", 50, 100)
		})
	}
	h := s.check("check", "__Host-shop-session="+s.login(b, "u-1815"))
	search := func(ctx context.Context) {
		for path := nobodyAgent; path != "" && ctx.Err() == nil; {
			path = next(o.page(path))
		}
	}
	b.Run("case=whole-search/peer=sojourn", func(b *testing.B) {
		for b.Loop() {
			search(b.Context())
		}
	})
	b.Run("case=check-beside-search/peer=sojourn", func(b *testing.B) {
		h.beside(b, func(ctx context.Context) {
			for ctx.Err() == nil {
				search(ctx)
			}
		})
	})
	b.Run("case=check-beside-console/peer=sojourn", func(b *testing.B) {
		h.beside(b, func(ctx context.Context) {
			go func() {
				events := o.get(ctx, "/apps/shop/events/stream")
				defer events.Body.Close()
				_, _ = io.Copy(io.Discard, events.Body)
			}()
			for ctx.Err() == nil { // as figures.js does
				o.page("/figures?app=shop")
				time.Sleep(time.Second)
			}
		})
	})
}

// beside measures by wrk how many requests a second are answered while something
// else is done, and without it, in turns. loss-% compares the medians.
func (h hit) beside(b *testing.B, do func(ctx context.Context)) {
	var alone, both []float64
	for b.Loop() {
		for range sized(5, 1) {
			alone = append(alone, h.run(b)["req/s"])
			ctx, stop := context.WithCancel(b.Context())
			done := make(chan struct{})
			go func() { defer close(done); do(ctx) }()
			both = append(both, h.run(b)["req/s"])
			stop()
			<-done
		}
	}
	slices.Sort(alone)
	slices.Sort(both)
	a, w := alone[len(alone)/2], both[len(both)/2]
	figures{"alone-req/s": a, "beside-req/s": w, "loss-%": 100 * (1 - w/a)}.report(b)
}

// BenchmarkConsoleStores measures what the console asks of a store with a million
// sessions: those of a user, the first results of a filter that one session in a
// thousand meets, and a search of all.
func BenchmarkConsoleStores(b *testing.B) {
	n := sized(1_000_000, 2000)
	measure := func(name string, st store.Store) {
		e := must(sojourn.New(st, sojourn.Options{}))
		defer e.Close(b.Context())
		b.Run("case="+name+"-subject/peer=sojourn", func(b *testing.B) {
			i := 0
			for b.Loop() {
				i += 7919
				if list, _, err := e.List(b.Context(), userID(i%n), "", 50); err != nil || len(list) == 0 {
					b.Fatal(len(list), err)
				}
			}
		})
		search := func(b *testing.B, f sojourn.Filter, enough int) {
			var page sojourn.SearchPage
			for found := 0; ; {
				var err error
				page, err = e.Search(b.Context(), f, page.Cursor, 50)
				check(err)
				if found += len(page.Sessions); page.Cursor == "" || found >= enough {
					break
				}
			}
		}
		b.Run("case="+name+"-first-results/peer=sojourn", func(b *testing.B) {
			for b.Loop() {
				search(b, sojourn.Filter{UserAgent: "chrome/101.0.4001.1"}, 1)
			}
		})
		b.Run("case="+name+"-whole-search/peer=sojourn", func(b *testing.B) {
			for b.Loop() {
				search(b, sojourn.Filter{Network: netip.MustParsePrefix("240.0.0.0/32")}, n)
			}
		})
	}
	memory := memstore.New()
	recent.fill(memory, 0, n, 2)
	measure("memory", memory)
	check(memory.Close())
	file := newStoreFile(b).open(b)
	recent.fill(file, 0, n, 512)
	measure("sqlite", file)
	check(file.Close())
	for _, be := range backends(b) {
		filling := be.hurry("console")
		recent.fill(filling, 0, n, fillers)
		check(filling.Close())
		st := be.open("console")
		measure(be.name, st)
		check(st.Close())
	}
}
