package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/sojourn-go/sojourn/internal/servertest"
)

// A hitResult is one kind of request, side by side with a bare handler that is sent the same.
type hitResult struct {
	Name string
	Goal float64 // the least share of the bare handler's rate
	Own  hitTiming
	Bare hitTiming
	Rate int // at which the paced latencies were measured
}

// A hitTiming is how fast the requests were answered.
type hitTiming struct {
	PerSecond, Low, High float64 // median and quartiles
	P50, P99             time.Duration
	Paced                latencies
}

// hitConnections is how many send at a time.
const hitConnections = 64

// A hit is a request that is sent over and over.
type hit struct {
	name    string
	goal    float64
	method  string
	path    string
	headers [][2]string
	body    string
	own     string // host:port
}

// hits compares the hottest requests with a bare handler.
func (s *serverRun) hits(ctx context.Context) (err error) {
	wrk, err := exec.LookPath("wrk")
	if err != nil {
		s.r.Notes = append(s.r.Notes, "Requests a second were not measured: there is no wrk (Debian's package wrk).")
		return nil
	}
	server, err := s.startServer(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.stop()) }()
	bare, stop, err := startBare(ctx)
	if err != nil {
		return err
	}
	defer stop()
	token, err := server.login(ctx, "u-1815")
	if err != nil {
		return err
	}
	for _, h := range []hit{
		{
			name: "/check of a live session", goal: 0.8, own: server.internal, method: http.MethodGet, path: "/check/shop/status/login",
			headers: [][2]string{
				{"Cookie", "theme=dark; __Host-shop-session=" + token}, {"User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"},
				{"Accept", "text/html"}, {"X-Forwarded-For", "203.0.113.7"}, {"X-Forwarded-Proto", "https"}, {"X-Forwarded-Host", "shop.example"},
				{"X-Forwarded-Method", "GET"}, {"X-Forwarded-Uri", "/account"},
			},
		},
		{
			name: "POST /v1/sessions/resolve", goal: 0.5, own: server.api, method: http.MethodPost, path: "/v1/sessions/resolve",
			headers: [][2]string{{"Authorization", "Bearer " + server.key}, {"Content-Type", "application/json"}},
			body:    `{"token": "` + token + `"}`,
		},
	} {
		r, err := s.compareHits(ctx, wrk, h, bare)
		if err != nil {
			return fmt.Errorf("%s: %w", h.name, err)
		}
		s.r.Hits = append(s.r.Hits, r)
	}
	return nil
}

func (s *serverRun) compareHits(ctx context.Context, wrk string, h hit, bare string) (r hitResult, err error) {
	r = hitResult{Name: h.name, Goal: h.goal}
	sides := []struct {
		address string
		to      *hitTiming
		rates   []float64
		p50s    []float64
		p99s    []float64
	}{{address: h.own, to: &r.Own}, {address: bare, to: &r.Bare}}
	for round := range s.s.rounds + 1 { // the first one warms up
		for i := range sides {
			side := &sides[i]
			s.say(fmt.Sprintf("%s: round %d of %d", h.name, round, s.s.rounds))
			m, err := h.wrk(ctx, wrk, s.dir, side.address, s.s.slice)
			if err != nil {
				return r, err
			}
			if round > 0 {
				side.rates = append(side.rates, m.rate)
				side.p50s = append(side.p50s, float64(m.p50))
				side.p99s = append(side.p99s, float64(m.p99))
			}
		}
	}
	for i := range sides {
		side := &sides[i]
		*side.to = hitTiming{
			PerSecond: quantile(side.rates, 0.5), Low: quantile(side.rates, 0.25), High: quantile(side.rates, 0.75),
			P50: time.Duration(quantile(side.p50s, 0.5)), P99: time.Duration(quantile(side.p99s, 0.5)),
		}
	}
	r.Rate = max(int(r.Own.PerSecond/2), 1)
	total := [2]*histogram{{}, {}}
	const turns = 4
	for turn := range turns {
		for i := range sides {
			s.say(fmt.Sprintf("%s: %d a second, turn %d of %d", h.name, r.Rate, turn+1, turns))
			part, err := h.paced(ctx, sides[i].address, r.Rate, s.s.paced/turns)
			if err != nil {
				return r, err
			}
			total[i].merge(part)
		}
	}
	r.Own.Paced, r.Bare.Paced = total[0].latencies(), total[1].latencies()
	r.Own.Paced.Window, r.Bare.Paced.Window = s.s.paced, s.s.paced
	return r, nil
}

// A wrkTiming is what wrk says.
type wrkTiming struct {
	rate     float64
	p50, p99 time.Duration
}

// wrk sends the request as fast as it is answered.
func (h hit) wrk(ctx context.Context, wrk, dir, address string, d time.Duration) (wrkTiming, error) {
	args := []string{"-t2", "-c" + strconv.Itoa(hitConnections), "-d" + strconv.Itoa(int(d.Seconds())) + "s", "--latency"}
	for _, header := range h.headers {
		args = append(args, "-H", header[0]+": "+header[1])
	}
	if h.method != http.MethodGet {
		script := filepath.Join(dir, "request.lua")
		text := fmt.Sprintf("wrk.method = %q\nwrk.body = [==[%s]==]\n", h.method, h.body)
		if err := os.WriteFile(script, []byte(text), 0o600); err != nil {
			return wrkTiming{}, err
		}
		args = append(args, "-s", script)
	}
	out, err := exec.CommandContext(ctx, wrk, append(args, "http://"+address+h.path)...).CombinedOutput()
	if err != nil {
		return wrkTiming{}, fmt.Errorf("bench: wrk: %w\n%s", err, out)
	}
	return readWrk(string(out))
}

var (
	wrkRate    = regexp.MustCompile(`Requests/sec:\s+([\d.]+)`)
	wrkLatency = regexp.MustCompile(`(?m)^\s+(50|99)%\s+([\d.]+(?:us|ms|s|m))$`)
	wrkFailed  = regexp.MustCompile(`Non-2xx or 3xx responses: \d+|Socket errors: .*`)
)

// readWrk reads what wrk prints. An answer that is no success is an error: no error path is ever measured.
func readWrk(out string) (m wrkTiming, err error) {
	if failed := wrkFailed.FindString(out); failed != "" {
		return m, errors.New("bench: wrk: " + failed)
	}
	rate := wrkRate.FindStringSubmatch(out)
	if rate == nil {
		return m, errors.New("bench: wrk says no rate:\n" + out)
	}
	if m.rate, err = strconv.ParseFloat(rate[1], 64); err != nil {
		return m, err
	}
	for _, l := range wrkLatency.FindAllStringSubmatch(out, -1) {
		d, err := time.ParseDuration(l[2])
		if err != nil {
			return m, err
		}
		if l[1] == "50" {
			m.p50 = d
		} else {
			m.p99 = d
		}
	}
	if m.p50 == 0 || m.p99 == 0 {
		return m, errors.New("bench: wrk says no latencies:\n" + out)
	}
	return m, nil
}

// paced sends the request so many times a second.
func (h hit) paced(ctx context.Context, address string, rate int, d time.Duration) (*histogram, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", h.method, h.path, address)
	for _, header := range h.headers {
		fmt.Fprintf(&b, "%s: %s\r\n", header[0], header[1])
	}
	if h.body != "" {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(h.body))
	}
	request := []byte(b.String() + "\r\n" + h.body)
	conns := make([]net.Conn, hitConnections)
	defer func() {
		for _, c := range conns {
			if c != nil {
				_ = c.Close()
			}
		}
	}()
	for i := range conns {
		var err error
		if conns[i], err = new(net.Dialer).DialContext(ctx, "tcp", address); err != nil {
			return nil, err
		}
	}
	return pace(ctx, rate, hitConnections, d, func(w int) func(int) error {
		answers := bufio.NewReader(conns[w])
		return func(int) error {
			if _, err := conns[w].Write(request); err != nil {
				return err
			}
			res, err := http.ReadResponse(answers, nil)
			if err != nil {
				return err
			}
			_, err = io.Copy(io.Discard, res.Body)
			_ = res.Body.Close()
			if res.StatusCode != http.StatusOK {
				return errors.New("bench: answered " + res.Status)
			}
			return err
		}
	})
}

// startBare starts the bare handler in a process of its own, like the server's.
func startBare(ctx context.Context) (address string, stop func(), err error) {
	port, err := servertest.FreePort()
	if err != nil {
		return "", nil, err
	}
	address = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	stop, err = spawnJob(ctx, job{Kind: "bare", Address: address}, io.Discard)
	if err != nil {
		return "", nil, err
	}
	for began := time.Now(); ; time.Sleep(time.Millisecond) {
		if c, err := new(net.Dialer).DialContext(ctx, "tcp", address); err == nil {
			return address, stop, c.Close()
		}
		if time.Since(began) > 10*time.Second {
			stop()
			return "", nil, errors.New("bench: the bare handler doesn't listen")
		}
	}
}

// serveBare answers all requests with 200 and one header.
func serveBare(address string) error {
	server := &http.Server{Addr: address, ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Sojourn-Subject", "u-1815")
	})}
	return server.ListenAndServe()
}
