package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/sojourn-go/sojourn/internal/servertest"
)

// buildServer builds sojournd from the module beside this one.
func buildServer(ctx context.Context, dir string) (string, error) {
	program := filepath.Join(dir, "sojournd")
	if out, err := exec.CommandContext(ctx, "go", "build", "-C", "../sojournd", "-o", program, ".").CombinedOutput(); err != nil {
		return "", fmt.Errorf("bench: build sojournd: %w\n%s", err, out)
	}
	return program, nil
}

// A serverProcess is a running sojournd.
type serverProcess struct {
	command *exec.Cmd
	ended   chan error
	printed bytes.Buffer // read when it has ended

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
`

// startServer returns when the server is ready.
func (s *serverRun) startServer(ctx context.Context) (_ *serverProcess, err error) {
	p := &serverProcess{ended: make(chan error, 1)}
	var key struct{ Key, Hash string }
	out, err := exec.CommandContext(ctx, s.program, "keys", "new", "--json").Output()
	if err == nil {
		err = json.Unmarshal(out, &key)
	}
	if err != nil {
		return nil, fmt.Errorf("bench: sojournd keys new: %w", err)
	}
	p.key = key.Key
	for _, address := range []*string{&p.api, &p.internal} {
		port, err := servertest.FreePort()
		if err != nil {
			return nil, err
		}
		*address = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	}
	config := filepath.Join(s.dir, "sojourn.yaml")
	if err := os.WriteFile(config, fmt.Appendf(nil, serverConfig, s.file, p.api, p.internal, key.Hash), 0o600); err != nil {
		return nil, err
	}
	p.command = exec.CommandContext(ctx, s.program, "serve", "--config", config)
	p.command.Stdout, p.command.Stderr = &p.printed, &p.printed
	began := time.Now()
	if err := servertest.Spawn(p.command); err != nil {
		return nil, err
	}
	go func() { p.ended <- p.command.Wait() }()
	for !isReady(ctx, p.internal) {
		select {
		case err := <-p.ended:
			return nil, fmt.Errorf("bench: sojournd ended: %w\n%s", err, &p.printed)
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), p.stop())
		case <-time.After(time.Millisecond):
		}
		if time.Since(began) > time.Minute {
			return nil, errors.Join(errors.New("bench: sojournd does not become ready"), p.stop())
		}
	}
	p.ready = time.Since(began)
	return p, nil
}

// isReady asks on a connection of its own, which leaves nothing behind.
func isReady(ctx context.Context, address string) bool {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/readyz", nil)
	if err != nil {
		return false
	}
	r.Close = true
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		return false
	}
	_ = res.Body.Close()
	return res.StatusCode == http.StatusOK
}

func (p *serverProcess) stop() error {
	if err := p.command.Process.Signal(os.Interrupt); err != nil {
		return err
	}
	select {
	case err := <-p.ended:
		if err != nil {
			err = fmt.Errorf("bench: sojournd: %w\n%s", err, &p.printed)
		}
		return err
	case <-time.After(30 * time.Second):
		_ = p.command.Process.Kill()
		return errors.New("bench: sojournd does not stop")
	}
}

// memory returns the resident size now.
func (p *serverProcess) memory() (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.command.Process.Pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if text, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kilobytes, err := strconv.ParseInt(strings.Fields(text)[0], 10, 64)
			return kilobytes << 10, err
		}
	}
	return 0, errors.New("bench: no VmRSS")
}

// login makes a session, and returns its token.
func (p *serverProcess) login(ctx context.Context, subject string) (string, error) {
	body := fmt.Sprintf(`{"subject": %q, "values": {"cart": {"items": [1, 2, 3]}}}`, subject)
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+p.api+"/v1/sessions", strings.NewReader(body))
	if err != nil {
		return "", err
	}
	r.Header.Set("Authorization", "Bearer "+p.key)
	r.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		return "", err
	}
	defer res.Body.Close() //nolint:errcheck // read only
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return "", err
	}
	var answer struct{ Token string }
	if err := json.Unmarshal(b, &answer); err != nil || answer.Token == "" {
		return "", fmt.Errorf("bench: create a session: %s: %s", res.Status, b)
	}
	return answer.Token, nil
}
