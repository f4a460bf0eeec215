package bench

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sojourn-go/sojourn/internal/dbsc/dbsctest"
	"github.com/sojourn-go/sojourn/internal/servertest"
	"github.com/sojourn-go/sojourn/store"
)

// A server is a process that is asked over the loopback.
type server struct {
	cmd           *exec.Cmd
	api, internal string // host:port
	key           string
	ready         time.Duration // since the start
}

const serverConfig = `store: sqlite:%s
log: {level: warn}
api: {listen: ["%s"]}
internal: {listen: ["%s"]}
trusted_proxies: [127.0.0.1]
limits: {idle_timeout: 1h}
applications:
  - name: shop
    keys: [{name: bench, hash: "%s"}]
    pages: {path: /session/}
    bound: {proof_life: 1h, script: true}
`

// sojournd is the program, built once from the module beside this one.
var sojournd = sync.OnceValue(func() string {
	program := filepath.Join(workDir(), "sojournd")
	if out, err := exec.Command("go", "build", "-C", "../sojournd", "-o", program, ".").CombinedOutput(); err != nil {
		panic(fmt.Sprintf("build sojournd: %v\n%s", err, out))
	}
	return program
})

// startServer starts sojournd on a file, and returns when it is ready. more goes
// behind the configuration.
func startServer(b *testing.B, file storeFile, more string) *server {
	var key struct{ Key, Hash string }
	check(json.Unmarshal(must(exec.Command(sojournd(), "keys", "new", "--json").Output()), &key))
	s := &server{api: freeAddress(), internal: freeAddress(), key: key.Key}
	config := filepath.Join(newDir(b), "sojourn.yaml")
	check(os.WriteFile(config, fmt.Appendf(nil, serverConfig+more, file, s.api, s.internal, key.Hash), 0o600))
	s.cmd = exec.Command(sojournd(), "serve", "--config", config)
	s.start(b, s.internal, "/readyz")
	return s
}

// start runs the process until a path answers 200.
func (s *server) start(b *testing.B, address, path string) {
	var printed bytes.Buffer
	s.cmd.Stdout, s.cmd.Stderr = &printed, &printed
	began := time.Now()
	check(servertest.Spawn(s.cmd))
	for {
		res, err := http.Get("http://" + address + path)
		if err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				break
			}
		}
		if time.Since(began) > time.Minute {
			s.stop()
			b.Fatal("not ready: ", err, "\n", printed.String())
		}
		time.Sleep(time.Millisecond)
	}
	s.ready = time.Since(began)
	http.DefaultClient.CloseIdleConnections()
}

func (s *server) stop() {
	_ = s.cmd.Process.Signal(unix.SIGTERM) // a shell in the background ignores interrupts, and so do its children
	_ = s.cmd.Wait()
}

func freeAddress() string { return fmt.Sprint("127.0.0.1:", must(servertest.FreePort())) }

// login makes a session, and returns its token.
func (s *server) login(b *testing.B, subject string) string {
	body := fmt.Sprintf(`{"subject": %q, "values": {"cart": {"items": [1, 2, 3]}}}`, subject)
	r, _ := http.NewRequest("POST", "http://"+s.api+"/v1/sessions", strings.NewReader(body))
	r.Header = http.Header{"Authorization": {"Bearer " + s.key}, "Content-Type": {"application/json"}}
	res := must(http.DefaultClient.Do(r))
	defer res.Body.Close()
	var answer struct{ Token string }
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil || answer.Token == "" {
		b.Fatal("create a session: ", res.Status, err)
	}
	return answer.Token
}

// forwarded are a proxy's headers.
var forwarded = [][2]string{{"X-Forwarded-For", "203.0.113.7"}, {"X-Forwarded-Proto", "https"}, {"X-Forwarded-Host", "shop.example"}}

// bind binds a session to a key, and returns the browser's cookies.
func (s *server) bind(token string) jar {
	k := &keeper{cookies: jar{"__Host-shop-session": token}, key: dbsctest.NewKey()}
	k.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { // as a proxy maps the path
		out := must(http.NewRequest(r.Method, "http://"+s.internal+"/pages/shop"+strings.TrimPrefix(r.URL.Path, "/session"), http.NoBody))
		out.Header = r.Header.Clone()
		for _, h := range forwarded {
			out.Header.Set(h[0], h[1])
		}
		res := must(http.DefaultClient.Do(out))
		defer res.Body.Close()
		maps.Copy(w.Header(), res.Header)
		w.WriteHeader(res.StatusCode)
	})
	check(k.bind())
	return k.cookies
}

// BenchmarkServerStart measures the time from the start of the process until it
// is ready, with a million live sessions on the disk.
func BenchmarkServerStart(b *testing.B) {
	b.Run("case=start/peer=sojourn", func(b *testing.B) {
		file := liveFile(b)
		var ready time.Duration
		for b.Loop() {
			s := startServer(b, file, "")
			ready += s.ready
			s.stop()
		}
		figures{"ready-ns": float64(ready) / float64(b.N)}.report(b)
	})
}

// liveFile has sessions that live: the server would sweep expired ones meanwhile.
func liveFile(b *testing.B) storeFile {
	file := newStoreFile(b)
	st := file.open(b)
	live := samples{store.TimeOf(time.Now())}
	live.fill(st, 0, sized(1_000_000, 500), 512)
	check(st.Close())
	return file
}

// A hit is a request that is sent over and over.
type hit struct {
	name, method, address, path, body string
	header                            [][2]string
	server                            *server // has the address
}

// check is a proxy's check of a session's cookies.
func (s *server) check(name, cookies string) hit {
	return hit{name: name, method: "GET", server: s, address: s.internal, path: "/check/shop/status/login", header: append([][2]string{
		{"Cookie", "theme=dark; " + cookies}, browserHeaders[0], {"Accept", "text/html"},
		{"X-Forwarded-Method", "GET"}, {"X-Forwarded-Uri", "/account"},
	}, forwarded...)}
}

// BenchmarkServer sends requests to sojournd and to a bare net/http handler in a
// process of its own, by 64 connections: with wrk as fast as they are answered,
// and 10,000 a second.
func BenchmarkServer(b *testing.B) {
	servertest.Need(b, "wrk")
	s := startServer(b, liveFile(b), "")
	defer s.stop()
	bare := &server{api: freeAddress(), cmd: exec.Command(os.Args[0])}
	bare.cmd.Env = append(os.Environ(), bareVariable+"="+bare.api)
	bare.start(b, bare.api, "/")
	defer bare.stop()
	token, bound := s.login(b, "u-1815"), s.bind(s.login(b, "u-1816"))
	for _, h := range []hit{
		s.check("check", "__Host-shop-session="+token),
		s.check("check-bound", bound.header()),
		{name: "resolve", method: "POST", server: s, address: s.api, path: "/v1/sessions/resolve", body: `{"token": "` + token + `"}`,
			header: [][2]string{{"Authorization", "Bearer " + s.key}, {"Content-Type", "application/json"}}},
	} {
		for _, peer := range []string{"sojourn", "bare"} {
			if peer == "bare" {
				h.server, h.address = bare, bare.api
			}
			b.Run("case="+h.name+"-by-64/peer="+peer, h.wrk)
			b.Run("case="+h.name+"-10000-a-second/peer="+peer, h.paced)
		}
	}
}

// wrk's output. An answer that is no success is an error: no error path is measured.
var (
	wrkRate    = regexp.MustCompile(`Requests/sec:\s+([\d.]+)`)
	wrkCount   = regexp.MustCompile(`(\d+) requests in`)
	wrkLatency = regexp.MustCompile(`(?m)^\s+(50|99)%\s+([\d.]+(?:us|ms|s|m))$`)
	wrkFailed  = regexp.MustCompile(`Non-2xx or 3xx responses: \d+|Socket errors: .*`)
)

func (h hit) wrk(b *testing.B) {
	for b.Loop() {
		h.run(b).report(b)
	}
}

// run sends requests by wrk for some seconds. It also measures the CPU time of the
// server's process.
func (h hit) run(b *testing.B) figures {
	args := []string{"-t2", "-c64", fmt.Sprintf("-d%ds", sized(3, 1)), "--latency"}
	for _, header := range h.header {
		args = append(args, "-H", header[0]+": "+header[1])
	}
	if h.body != "" {
		script := filepath.Join(newDir(b), "request.lua")
		check(os.WriteFile(script, fmt.Appendf(nil, "wrk.method = %q\nwrk.body = [==[%s]==]\n", h.method, h.body), 0o600))
		args = append(args, "-s", script)
	}
	spent := -processTreeCPU(h.server.cmd.Process.Pid)
	out, err := exec.Command("wrk", append(args, "http://"+h.address+h.path)...).CombinedOutput()
	spent += processTreeCPU(h.server.cmd.Process.Pid)
	rate, count, latencies := wrkRate.FindSubmatch(out), wrkCount.FindSubmatch(out), wrkLatency.FindAllSubmatch(out, -1)
	if err != nil || rate == nil || count == nil || len(latencies) != 2 || wrkFailed.Match(out) {
		b.Fatalf("%v\n%s", err, out)
	}
	f := figures{}
	f["req/s"], _ = strconv.ParseFloat(string(rate[1]), 64)
	n, _ := strconv.ParseFloat(string(count[1]), 64)
	f["cpu-ns/req"] = 1e9 * spent / n
	for _, l := range latencies {
		d, _ := time.ParseDuration(string(l[2]))
		f["p"+string(l[1])+"-ns"] = float64(d)
	}
	return f
}

func (h hit) paced(b *testing.B) {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	defer client.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(b.Context(), time.Duration(sized(10, 1))*time.Second)
	defer cancel()
	took := pace(ctx, sized(10_000, 200), 64, func(*hand, int) error {
		r := must(http.NewRequest(h.method, "http://"+h.address+h.path, strings.NewReader(h.body)))
		for _, header := range h.header {
			r.Header.Set(header[0], header[1])
		}
		res := must(client.Do(r))
		defer res.Body.Close()
		if res.StatusCode != http.StatusOK {
			return errors.New(res.Status)
		}
		_, err := io.Copy(io.Discard, res.Body)
		return err
	})
	b.ReportMetric(0, "ns/op")
	took.report(b.ReportMetric, "", 50, 99, 99.9)
}

// BenchmarkServerRequest sends requests by wrk, with 64 connections, to the sites
// of peers on net/http, each in a process of its own. Each request reads one value
// of the same visitor's session. The bare site gets and answers the same, without
// a session.
func BenchmarkServerRequest(b *testing.B) {
	servertest.Need(b, "wrk")
	for _, name := range []string{"sojourn", "bare", "scs"} {
		b.Run("case=read-string-by-64/peer="+name, func(b *testing.B) {
			s := &server{api: freeAddress(), cmd: exec.Command(os.Args[0])}
			s.cmd.Env = append(os.Environ(), siteVariable+"="+name, addressVariable+"="+s.api)
			s.start(b, s.api, nothing.path())
			defer s.stop()
			read, cookies := readTheme, jar{"__Host-visitor": strings.Repeat("A", 64)}
			if name == "bare" {
				read = nothing
			} else {
				cookies = s.visit(b)
			}
			header := append([][2]string{{"Cookie", cookies.header()}}, browserHeaders...)
			hit{method: "GET", server: s, address: s.api, path: read.path(), header: header}.wrk(b)
		})
	}
}

// visit stores a value in a new session of a site, and returns its cookies.
func (s *server) visit(b *testing.B) jar {
	r := must(http.NewRequest("POST", "http://"+s.api+create.path(), http.NoBody))
	for _, h := range browserHeaders {
		r.Header.Set(h[0], h[1])
	}
	res, err := http.DefaultClient.Do(r)
	if err == nil && res.StatusCode != http.StatusOK {
		err = errors.New(res.Status)
	}
	if err != nil {
		b.Fatal("create a session: ", err)
	}
	defer res.Body.Close()
	cookies := jar{}
	cookies.keep(res.Header["Set-Cookie"])
	return cookies
}

// BenchmarkServerCrowd measures what 10,000 subscribers to events and as many idle
// connections cost the server: resident memory without them, with them, and after
// events; and the time until every subscriber has seen an event.
func BenchmarkServerCrowd(b *testing.B) {
	b.Run("case=crowd/peer=sojourn", func(b *testing.B) {
		var limit unix.Rlimit // of files, for this process as for the server
		check(unix.Getrlimit(unix.RLIMIT_NOFILE, &limit))
		streams := sized(10_000, 50)
		idle := min(streams, int(limit.Max)-streams-100)
		s := startServer(b, newStoreFile(b), "")
		defer s.stop()
		resident := func(unit string) {
			b.ReportMetric(processMemory(strconv.Itoa(s.cmd.Process.Pid), "VmRSS"), unit)
		}
		resident("before-B")
		subscribers := s.connect(b, streams, "/v1/events")
		s.connect(b, idle, "/v1/stats")
		resident("connected-B")
		b.ReportMetric(float64(idle), "idle")
		var told latencies
		for range 5 {
			start := time.Now()
			s.login(b, "crowd")
			var seen sync.WaitGroup
			for _, lines := range subscribers {
				seen.Go(func() { check(find(lines, "event: created\n")) })
			}
			seen.Wait()
			told = append(told, time.Since(start))
		}
		told.report(b.ReportMetric, "told-", 50, 100)
		resident("told-B")
		b.ReportMetric(0, "ns/op")
	})
}

// connect opens connections that have asked for a path and got the first lines.
func (s *server) connect(b *testing.B, n int, path string) []*bufio.Reader {
	readers := make([]*bufio.Reader, n)
	spread(0, n, 64, func(_ *hand, i int) error {
		c := must(net.Dial("tcp", s.api))
		b.Cleanup(func() { c.Close() })
		must(fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n\r\n", path, s.api, s.key))
		readers[i] = bufio.NewReaderSize(c, 1024)
		if err := find(readers[i], "HTTP/1.1 200 OK"); err != nil || path != "/v1/events" {
			return err
		}
		return find(readers[i], "retry:")
	})
	return readers
}

// find reads up to a line that begins with prefix.
func find(lines *bufio.Reader, prefix string) error {
	for {
		line, err := lines.ReadString('\n')
		if strings.HasPrefix(line, prefix) || err != nil {
			return err
		}
	}
}
