package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/sojourn-go/sojourn/internal/servertest"
)

// A crowdResult is what many connections cost.
type crowdResult struct {
	Streams int
	Idle    int
	Before  int64         // resident, without them
	Holding int64         // with all of them
	After   int64         // when all have been told of events
	Told    time.Duration // until all of them knew of an event; the median
	Longest time.Duration
	Rounds  int
}

// crowdRounds is how many events the crowd is told of.
const crowdRounds = 5

// spareFiles are what a process needs besides the connections.
const spareFiles = 100

// crowd connects subscribers and idle connections, from processes of their own.
func (s *serverRun) crowd(ctx context.Context) (err error) {
	streams, idle := s.s.streams, s.s.idle
	if limit := fileLimit(); streams+idle > limit-spareFiles {
		idle = max(limit-spareFiles-streams, 0)
		s.r.Notes = append(s.r.Notes, fmt.Sprintf("A process may have %d files here, so there were %d idle connections instead of %d.", limit, idle, s.s.idle))
	}
	server, err := s.startServer(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.stop()) }()
	r := &crowdResult{Streams: streams, Idle: idle, Rounds: crowdRounds}
	if r.Before, err = server.memory(); err != nil {
		return err
	}
	join := func(n int, path string) (told *bufio.Reader, leave func(), err error) {
		s.say(fmt.Sprintf("connecting: %d to %s", n, path))
		in, out, err := os.Pipe()
		if err != nil {
			return nil, nil, err
		}
		stop, err := spawnJob(ctx, job{Kind: "crowd", Sessions: n, Path: path, Address: server.api, Key: server.key}, out)
		_ = out.Close()
		if err != nil {
			return nil, nil, errors.Join(err, in.Close())
		}
		leave = func() { stop(); _ = in.Close() }
		if err := in.SetReadDeadline(time.Now().Add(s.s.bound)); err != nil {
			return nil, leave, err
		}
		told = bufio.NewReader(in)
		return told, leave, expect(told, "connected\n")
	}
	told, leave, err := join(streams, "/v1/events")
	if leave != nil {
		defer leave()
	}
	if err != nil {
		return err
	}
	_, leaveIdle, err := join(idle, "/v1/stats")
	if leaveIdle != nil {
		defer leaveIdle()
	}
	if err != nil {
		return err
	}
	if r.Holding, err = server.memory(); err != nil {
		return err
	}
	var took []float64
	for i := range crowdRounds {
		s.say(fmt.Sprintf("telling: event %d of %d", i+1, crowdRounds))
		began := time.Now()
		if _, err := server.login(ctx, "crowd"); err != nil {
			return err
		}
		if err := expect(told, "told\n"); err != nil {
			return err
		}
		took = append(took, float64(time.Since(began)))
	}
	r.Told, r.Longest = time.Duration(quantile(took, 0.5)), time.Duration(quantile(took, 1))
	if r.After, err = server.memory(); err != nil {
		return err
	}
	s.r.Crowd = r
	return nil
}

func expect(r *bufio.Reader, line string) error {
	got, err := r.ReadString('\n')
	if got != line {
		return errors.Join(fmt.Errorf("bench: the crowd says %q, not %q", got, line), err)
	}
	return nil
}

// spawnJob starts a child that goes on until it is stopped, and prints to out.
func spawnJob(ctx context.Context, j job, out io.Writer) (stop func(), err error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(j)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, exe)
	cmd.Env = append(os.Environ(), jobVariable+"="+string(text))
	cmd.Stdout, cmd.Stderr = out, os.Stderr
	if err := servertest.Spawn(cmd); err != nil {
		return nil, err
	}
	return func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}, nil
}

// joinCrowd opens the connections of a job, says so, and then says each time when all subscribers know of another session.
func joinCrowd(j job, out io.Writer) error {
	var connected sync.WaitGroup
	seen := make(chan error, 1024)
	connecting := make(chan struct{}, 64) // no more at a time than a listener's queue holds
	for range j.Sessions {
		connected.Add(1)
		connecting <- struct{}{}
		go func() {
			seen <- joinOne(j, func() { <-connecting; connected.Done() }, func() { seen <- nil })
		}()
	}
	done := make(chan struct{})
	go func() { connected.Wait(); close(done) }()
	select {
	case <-done:
	case err := <-seen:
		return err
	}
	fmt.Fprintln(out, "connected")
	for {
		for range j.Sessions {
			if err := <-seen; err != nil {
				return err
			}
		}
		fmt.Fprintln(out, "told")
	}
}

func joinOne(j job, connected, told func()) error {
	c, err := new(net.Dialer).DialContext(context.Background(), "tcp", j.Address)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n\r\n", j.Path, j.Address, j.Key); err != nil {
		return err
	}
	lines := bufio.NewReaderSize(c, 1024)
	if status, err := lines.ReadString('\n'); status != "HTTP/1.1 200 OK\r\n" {
		return errors.Join(fmt.Errorf("bench: %s answers %q", j.Path, status), err)
	}
	if j.Path == "/v1/events" {
		if err := find(lines, "retry:"); err != nil {
			return err
		}
	}
	connected()
	for {
		if err := find(lines, "event: created\n"); err != nil {
			return err
		}
		told()
	}
}

// find reads up to a line that begins so.
func find(lines *bufio.Reader, prefix string) error {
	for {
		b, err := lines.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if strings.HasPrefix(string(b), prefix) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
