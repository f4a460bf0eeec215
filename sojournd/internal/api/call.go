package api

import (
	"bytes"
	"context"
	"crypto/rand"
	stdjson "encoding/json"
	"errors"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"net/url"
	"os"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/sojourn-go/sojourn/internal/peer"
	"github.com/sojourn-go/sojourn/sojournd/internal/api/v1"
)

// A call is a request in progress. It is the ResponseWriter of the handlers.
type call struct {
	api     *API
	w       http.ResponseWriter
	r       *http.Request
	began   time.Time // for measuring
	arrived time.Time // for the engine
	route   string
	key     *opened
	body    []byte // of the request, until the handler returns
	status  int
	wait    patience
}

func (c *call) Header() http.Header         { return c.w.Header() }
func (c *call) Unwrap() http.ResponseWriter { return c.w }

func (c *call) Write(b []byte) (int, error) {
	if c.status == 0 {
		c.status = http.StatusOK
	}
	return c.w.Write(b)
}

func (c *call) WriteHeader(status int) {
	if c.status == 0 && status >= 200 {
		c.status = status
	}
	c.w.WriteHeader(status)
}

// StatusGone is the status in metrics of a request that failed after its client
// had disconnected. It is never sent.
const StatusGone = 499

// done reports the answered request.
func (c *call) done() {
	took, status := time.Since(c.began), c.status
	if status >= 500 && c.r.Context().Err() != nil {
		status = StatusGone
	}
	if c.api.opt.Observe != nil {
		c.api.opt.Observe(c.route, status, took)
	}
	if ctx := c.r.Context(); c.api.log.Enabled(ctx, slog.LevelDebug) {
		attrs := []slog.Attr{slog.String("method", c.r.Method), slog.String("route", c.route), slog.Int("status", status), slog.Duration("took", took)}
		if c.key != nil {
			attrs = append(attrs, slog.String("app", c.key.app.Name), slog.String("key", c.key.name))
		}
		c.api.log.LogAttrs(ctx, slog.LevelDebug, "api request", attrs...) // without path and query, which may hold anything
	}
}

// buffers hold bodies. The garbage collector gets large ones.
var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

func giveBack(b *bytes.Buffer) {
	if b.Cap() <= 64<<10 {
		b.Reset()
		buffers.Put(b)
	}
}

// storeTimeout is how long a request may wait for the store.
const storeTimeout = 10 * time.Second

// serve answers a request with the result of f.
func serve[In, Out any](op *operation, c *call, f func(context.Context, *call, *In) (*Out, error)) {
	c.route = op.pattern
	if c.key = c.api.open(c.r); c.key == nil {
		c.w.Header().Set("WWW-Authenticate", `Bearer realm="sojourn"`)
		c.problem(problemOf(codeKey))
		return
	}
	buf := buffers.Get().(*bytes.Buffer)
	defer giveBack(buf)
	var in In
	if err := c.read(op, buf, &in); err != nil {
		c.fail(err)
		return
	}
	c.wait.Context = c.r.Context()
	defer c.wait.release()
	out, err := f(&c.wait, c, &in)
	if err != nil {
		c.fail(err)
		return
	}
	if out != nil {
		c.answer(op.status, out)
	}
}

// read checks the query, and reads the body into in.
func (c *call) read(op *operation, buf *bytes.Buffer, in any) error {
	if c.r.URL.RawQuery != "" {
		if err := checkQuery(op, c.r.URL.RawQuery); err != nil {
			return err
		}
	}
	if op.body == nil {
		return nil
	}
	for _, coding := range c.r.Header["Content-Encoding"] {
		if coding != "" && !strings.EqualFold(coding, "identity") {
			c.w.Header().Set("Accept-Encoding", "identity") // RFC 9110, section 15.5.16
			p := problemOf(codeMedia)
			p.Detail = "The body is compressed, as Content-Encoding says: send it uncompressed."
			return p
		}
	}
	if header := c.r.Header["Content-Type"]; len(header) > 0 && header[0] != "application/json" {
		media, _, err := mime.ParseMediaType(header[0])
		if err != nil || media != "application/json" && (media != op.media || media == "") {
			return problemOf(codeMedia)
		}
	}
	max := c.api.opt.MaxBody
	if c.r.ContentLength > max {
		return problemOf(codeBody)
	}
	_, err := buf.ReadFrom(http.MaxBytesReader(c.w, c.r.Body, max))
	var tooLarge *http.MaxBytesError
	var network net.Error
	switch {
	case errors.As(err, &tooLarge):
		return problemOf(codeBody)
	case errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &network) && network.Timeout():
		c.w.Header().Set("Connection", "close")
		return problemOf(codeTimeout)
	case err != nil:
		p := problemOf(codeJSON)
		p.Detail = "The body is incomplete."
		return p
	}
	c.body = buf.Bytes()
	return decode(c.body, in)
}

// withoutNull rejects null, except as a session value. Package json would treat
// it as a missing member, so an if_revision of null would be no condition.
var withoutNull = json.WithUnmarshalers(json.UnmarshalFromFunc(func(d *jsontext.Decoder, v any) error {
	if d.PeekKind() == 'n' {
		switch v.(type) {
		case *stdjson.RawMessage, *v1.Value:
		default:
			return nullError{reflect.TypeOf(v).Elem()}
		}
	}
	return errors.ErrUnsupported // json decodes the value as usual
}))

// A nullError reports a null where another type is wanted.
type nullError struct{ wanted reflect.Type }

func (nullError) Error() string { return "null" }

// decode reads a body strictly: unknown and repeated members are mistakes.
func decode(body []byte, in any) error {
	options := []json.Options{json.RejectUnknownMembers(true)}
	if bytes.Contains(body, []byte("null")) { // the check takes time
		options = append(options, withoutNull)
	}
	err := json.Unmarshal(body, in, options...)
	if err == nil {
		return nil
	}
	var semantic *json.SemanticError
	if errors.As(err, &semantic) {
		where := string(semantic.JSONPointer)
		var null nullError
		switch {
		case errors.Is(err, json.ErrUnknownName):
			return invalid(where, "is not known here")
		case errors.As(err, &null):
			return invalid(where, "is null: "+wants(null.wanted))
		}
		return invalid(where, "has the wrong type: "+wants(semantic.GoType))
	}
	var syntactic *jsontext.SyntacticError
	errors.As(err, &syntactic)
	if syntactic != nil && strings.Contains(syntactic.Error(), "exceeded max depth") { // the package has no name for it
		p := problemOf(codeValue) // the same code as from the engine
		p.Detail = ancestor(syntactic.JSONPointer) + " is nested too deeply."
		return p
	}
	p := problemOf(codeJSON)
	switch {
	case len(bytes.TrimSpace(body)) == 0:
		p.Detail = "The body is empty: send a JSON object."
	case bytes.HasPrefix(body, []byte{0x1f, 0x8b}):
		p.Detail = "The body is compressed with gzip: send it uncompressed."
	case bytes.HasPrefix(body, []byte("\xef\xbb\xbf")), bytes.HasPrefix(body, []byte("\xff\xfe")), bytes.HasPrefix(body, []byte("\xfe\xff")):
		p.Detail = "The body begins with a byte order mark: send UTF-8 without one."
	case errors.Is(err, jsontext.ErrDuplicateName) && syntactic != nil:
		p.Detail = string(syntactic.JSONPointer) + " occurs twice."
	case syntactic != nil:
		p.Detail = "The body is not JSON, or not in UTF-8, at byte " + strconv.FormatInt(syntactic.ByteOffset, 10) + "." // does not quote the body
	}
	return p
}

// ancestor shortens a pointer to two levels, such as /values/cart.
func ancestor(p jsontext.Pointer) string {
	end := 0
	for range 2 {
		next := strings.IndexByte(string(p[min(end+1, len(p)):]), '/')
		if next < 0 {
			return string(p)
		}
		end += next + 1
	}
	return string(p[:end])
}

// wants says which type is wanted. It does not quote the value, which may be
// secret.
func wants(t reflect.Type) string {
	if t == nil {
		return "see /openapi.json"
	}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t.Kind() {
	case reflect.String:
		return "a string is wanted"
	case reflect.Bool:
		return "true or false is wanted"
	case reflect.Int, reflect.Uint64:
		return "a whole number in range is wanted"
	case reflect.Slice:
		return "an array is wanted"
	}
	return "an object is wanted"
}

func checkQuery(op *operation, raw string) error {
	query, err := url.ParseQuery(raw)
	if err != nil {
		return badQuery("is malformed")
	}
	for name, values := range query {
		known := false
		for _, p := range op.params {
			known = known || p.In == "query" && p.Name == name
		}
		switch {
		case name == "":
			return badQuery("has a parameter without a name")
		case !known:
			return invalid(strings.ToValidUTF8(name, "\uFFFD"), "is not known here")
		case len(values) > 1:
			return invalid(name, "occurs twice")
		case values[0] == "": // it would not restrict the request as intended
			return invalid(name, "is empty")
		case !utf8.ValidString(values[0]):
			return invalid(name, "is not UTF-8")
		}
	}
	return nil
}

func badQuery(detail string) *v1.Problem {
	p := invalid("", detail)
	p.Detail = "The query " + detail + "."
	return p
}

func (c *call) query(name string) string {
	if c.r.URL.RawQuery == "" {
		return ""
	}
	return c.r.URL.Query().Get(name)
}

// answer sends JSON.
func (c *call) answer(status int, body any) {
	buf := buffers.Get().(*bytes.Buffer)
	defer giveBack(buf)
	err := write(buf, body)
	if err != nil { // perhaps a value is nested deeper than the encoder allows
		buf.Reset()
		err = writeDeep(buf, body)
	}
	if err != nil {
		c.api.log.Error("api: encode an answer", "route", c.route, "err", err)
		buf.Reset()
		p := problemOf(codeInternal)
		status = p.Status
		_ = json.MarshalWrite(buf, p)
	}
	h := c.w.Header()
	h["Cache-Control"] = noStore
	if status >= 400 {
		h["Content-Type"] = problemJSON
	} else {
		h["Content-Type"] = plainJSON
	}
	h["Content-Length"] = []string{strconv.Itoa(buf.Len())}
	c.WriteHeader(status)
	_, _ = c.w.Write(buf.Bytes())
}

// write writes body as JSON.
func write(buf *bytes.Buffer, body any) error {
	if r, ok := body.(*v1.Resolved); ok {
		if text, ok := r.AppendJSON(buf.AvailableBuffer()); ok {
			_, _ = buf.Write(text) // never fails
			return nil
		}
	}
	return json.MarshalWrite(buf, body, json.Deterministic(true))
}

// writeDeep writes body as json.MarshalWrite does, but with no limit of depth
// for the values of sessions. They may have been stored before there was a
// limit. writeDeep encodes random words in their place, and then replaces the
// words.
func writeDeep(buf *bytes.Buffer, body any) error {
	word := rand.Text()
	var values []v1.Values
	stand := json.MarshalToFunc(func(e *jsontext.Encoder, o v1.Values) error {
		values = append(values, o)
		return e.WriteToken(jsontext.String(word + strconv.Itoa(len(values))))
	})
	text, err := json.Marshal(body, json.Deterministic(true), json.WithMarshalers(stand))
	if err != nil {
		return err
	}
	for i, o := range values {
		before, after, _ := bytes.Cut(text, []byte(strconv.Quote(word+strconv.Itoa(i+1))))
		buf.Write(before)
		buf.Write(o)
		text = after
	}
	buf.Write(text)
	return nil
}

var (
	noStore     = []string{"no-store"}
	plainJSON   = []string{"application/json"}
	problemJSON = []string{"application/problem+json"}
)

func (c *call) problem(p *v1.Problem) { c.answer(p.Status, p) }

// fail answers with the problem for an error.
func (c *call) fail(err error) {
	p := toProblem(err)
	if p.Status >= 500 && c.r.Context().Err() == nil {
		c.api.log.Error("api: "+p.Code, "route", c.route, "app", c.key.app.Name, "err", err)
	}
	if p.Status == http.StatusServiceUnavailable || p.Status == http.StatusTooManyRequests {
		c.w.Header().Set("Retry-After", retryAfter[strings.HasPrefix(p.Code, "throttled")])
	}
	c.problem(p)
}

var retryAfter = map[bool]string{true: "60", false: "5"}

// audit reports a change by an operator.
func (c *call) audit(action, target string, err error) {
	if c.api.opt.Audit == nil {
		return
	}
	result := "ok"
	if err != nil {
		result = toProblem(err).Code
	}
	ip := ""
	if from := peer.Of(c.r).IP; from.IsValid() {
		ip = from.String()
	}
	c.api.opt.Audit(c.key.app.Name, c.key.name, action, target, result, ip)
}
