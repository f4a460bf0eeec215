// Package client is the command line for a running server. It calls the API
// with an application's key, as the application does.
//
//	c, err := client.New(client.Options{Server: "unix:/run/sojournd/api.sock", Key: key, Out: os.Stdout})
//	err = c.ListSessions(ctx, client.List{Subject: "alice"})
package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/sojourn-go/sojourn/sojournd/internal/api/v1"
)

// Options are the server, the key, and how to print.
type Options struct {
	// Server is https://host:port, http://host:port, or unix:/path/to/socket.
	// Plain HTTP to another machine requires PlainHTTP, because others can read
	// the key.
	Server    string
	PlainHTTP bool

	// Key is the application's API key. If it is empty, KeyFile is a file that
	// holds only the key. Others must not be able to read it.
	Key     string
	KeyFile string

	JSON bool      // print JSON, one value on each line, instead of tables
	Out  io.Writer // gets the result
	Err  io.Writer // gets notes; default none

	// Progress shows the progress of long work. Default none.
	Progress func(what string, work func(report func(done, total int64)) error) error
}

// A Client calls one server. Its methods print to Options.Out.
type Client struct {
	opt  Options
	base string // of URLs: "http://unix" for a socket
	http *http.Client
	now  func() time.Time
}

// requestTimeout is for a whole answer. Streams have no timeout.
const requestTimeout = 30 * time.Second

// New checks the options. It does not connect.
func New(o Options) (*Client, error) {
	if o.Err == nil {
		o.Err = io.Discard
	}
	if o.Progress == nil {
		o.Progress = func(_ string, work func(func(done, total int64)) error) error { return work(func(int64, int64) {}) }
	}
	if o.Key == "" && o.KeyFile != "" {
		var err error
		if o.Key, err = readKey(o.KeyFile); err != nil {
			return nil, err
		}
	}
	o.Key = strings.TrimSpace(o.Key)
	if o.Key == "" {
		return nil, errors.New("no API key: put it into the variable SOJOURN_KEY, or into a file for --key-file. sojournd keys new makes one")
	}
	if strings.ContainsFunc(o.Key, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return nil, errors.New("the API key has invalid characters: it is one word, as sojournd keys new printed it")
	}
	c := &Client{opt: o, now: time.Now}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if path, ok := strings.CutPrefix(o.Server, "unix:"); ok {
		if !filepath.IsAbs(path) {
			return nil, fmt.Errorf("--server %s: the socket's path must be absolute, as in unix:/run/sojournd/api.sock", o.Server)
		}
		transport.Proxy = nil
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		}
		c.base = "http://unix"
	} else {
		u, err := url.Parse(o.Server)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			if strings.ContainsAny(o.Server, "@?#") { // it may hold a password
				return nil, errors.New("--server holds more than a server, and isn't shown, since that may be secret: use https://host:port, http://127.0.0.1:7081 or unix:/path/to/socket")
			}
			return nil, fmt.Errorf("--server %q is no server: use https://host:port, http://127.0.0.1:7081 or unix:/path/to/socket", o.Server)
		}
		if u.Scheme == "http" && !o.PlainHTTP && !isLoopback(u.Hostname()) {
			return nil, fmt.Errorf("--server %s would send the API key unencrypted to another machine: use https://, or --plain-http if nobody can listen", o.Server)
		}
		c.base = strings.TrimSuffix(u.String(), "/")
	}
	c.http = &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // the key is for this server only
	}
	return c, nil
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

func readKey(path string) (string, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("--key-file %s: there is no such file", path)
	} else if err != nil {
		return "", fmt.Errorf("--key-file: %w", err)
	}
	if info.Mode().IsRegular() && info.Mode().Perm()&0o007 != 0 {
		return "", fmt.Errorf("--key-file %s: anybody on this machine can read the key: chmod 600 %[1]s", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("--key-file: %w", err)
	}
	defer f.Close() //nolint:errcheck // read only
	b, err := io.ReadAll(io.LimitReader(f, 4096))
	if err != nil {
		return "", fmt.Errorf("--key-file %s: %w", path, err)
	}
	if strings.TrimSpace(string(b)) == "" {
		return "", fmt.Errorf("--key-file %s is empty", path)
	}
	return string(b), nil
}

// open makes a request. It returns the answer if that is a success.
func (c *Client) open(ctx context.Context, method, path string, query url.Values, header http.Header, body io.Reader) (*http.Response, error) {
	target := c.base + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	r, err := http.NewRequestWithContext(ctx, method, target, body)
	if err != nil {
		return nil, err
	}
	for name, values := range header {
		r.Header[name] = values
	}
	r.Header.Set("Authorization", "Bearer "+c.opt.Key)
	r.Header.Set("User-Agent", "sojournd")
	res, err := c.http.Do(r)
	if err != nil {
		return nil, c.explain(err)
	}
	if res.StatusCode >= 200 && res.StatusCode < 300 {
		return res, nil
	}
	defer res.Body.Close() //nolint:errcheck // read only
	return nil, c.problem(res)
}

func (c *Client) problem(res *http.Response) error {
	p := new(v1.Problem)
	media, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
	err := json.NewDecoder(io.LimitReader(res.Body, 1<<20)).Decode(p)
	p.Status, p.Title, p.Code, p.Detail = res.StatusCode, clean(p.Title), clean(p.Code), clean(p.Detail)
	switch {
	case media != "application/problem+json" || err != nil:
		return fmt.Errorf("%s is not a Sojourn API: %s. Does --server name another of the server's addresses?", c.opt.Server, res.Status)
	case res.StatusCode == http.StatusUnauthorized:
		return fmt.Errorf("the server at %s doesn't accept this API key: its configuration must list the key's hash: %w", c.opt.Server, p)
	}
	return fmt.Errorf("the server answers: %w", p)
}

// explain says what to do if the server does not answer.
func (c *Client) explain(err error) error {
	if u := new(url.Error); errors.As(err, &u) {
		err = u.Err
	}
	const where = "is sojournd serve running, and does --server name its API's address?"
	switch {
	case errors.Is(err, context.Canceled):
		return errors.New("interrupted before the server answered")
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOENT):
		return fmt.Errorf("nobody listens at %s: %s", c.opt.Server, where)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("not allowed to connect to %s: join the socket's group", c.opt.Server)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("the server at %s doesn't answer in time", c.opt.Server)
	case strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return fmt.Errorf("the server at %s speaks plain HTTP: use http://", c.opt.Server)
	}
	return fmt.Errorf("call the server at %s: %w", c.opt.Server, err)
}

// call makes a request and reads the JSON of the answer into out, if out is not
// nil.
func (c *Client) call(ctx context.Context, method, path string, query url.Values, out any) error {
	return c.send(ctx, method, path, query, nil, nil, out)
}

// send is call with headers and a body.
func (c *Client) send(ctx context.Context, method, path string, query url.Values, header http.Header, body io.Reader, out any) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	res, err := c.open(ctx, method, path, query, header, body)
	if err != nil {
		return err
	}
	defer res.Body.Close() //nolint:errcheck // read only
	if out == nil {
		_, err = io.Copy(io.Discard, res.Body)
	} else {
		err = json.NewDecoder(res.Body).Decode(out)
	}
	if err != nil {
		return fmt.Errorf("read the answer of the server at %s: %w", c.opt.Server, c.explain(err))
	}
	return nil
}

// printJSON prints one value on a line of its own.
func (c *Client) printJSON(value any) error {
	b, err := json.Marshal(value)
	if err != nil {
		return err
	}
	_, err = c.opt.Out.Write(append(b, '\n'))
	return err
}

func (c *Client) printf(format string, args ...any) error {
	_, err := fmt.Fprintf(c.opt.Out, format, args...)
	return err
}

func (c *Client) note(format string, args ...any) {
	_, _ = fmt.Fprintf(c.opt.Err, format+"\n", args...)
}
