package forwardauth

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/sojourn-go/sojourn"
)

// A header is a header of a 200 that the application's configuration chose.
type header struct {
	name string // canonical
	text func(*sojourn.Session, *sojourn.Info) (string, error)
}

const (
	maxHeaders = 16

	// maxHeaderBytes bounds the chosen headers of an answer together, because
	// nginx takes 4 KB for all headers by default.
	maxHeaderBytes = 2048
)

// newHeaders parses App.Headers. The error says what to change.
func newHeaders(chosen map[string]string) (list []header, err error) {
	if err := CheckHeaders(chosen); err != nil {
		return nil, fmt.Errorf("the list of headers %w", err)
	}
	for _, name := range slices.Sorted(maps.Keys(chosen)) {
		if err := CheckHeader(name, chosen[name]); err != nil {
			return nil, fmt.Errorf("the header %s %w", name, err)
		}
		text, _ := source(chosen[name])
		list = append(list, header{http.CanonicalHeaderKey(name), text})
	}
	return list, nil
}

// CheckHeaders returns an error if there are too many headers, or one twice.
// CheckHeader checks each of them.
func CheckHeaders(chosen map[string]string) error {
	if len(chosen) > maxHeaders {
		return fmt.Errorf("has %d headers: choose at most %d", len(chosen), maxHeaders)
	}
	seen := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(chosen)) {
		canonical := http.CanonicalHeaderKey(name)
		if other, twice := seen[canonical]; twice {
			return fmt.Errorf("has %s and %s, which are the same header: take one out", other, name)
		}
		seen[canonical] = name
	}
	return nil
}

// CheckHeader returns an error if a header's name can't be chosen, or if there is no
// such source. The error's text follows the name.
func CheckHeader(name, from string) error {
	if err := CheckHeaderName(name); err != nil {
		return err
	}
	_, err := source(from)
	return err
}

// CheckHeaderName returns an error if a name is not one that an application can
// choose, because HTTP, browsers, proxies or sojournd give it a meaning.
func CheckHeaderName(name string) error {
	isOther := func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-'
	}
	if name == "" || len(name) > 64 || strings.ContainsFunc(name, isOther) || strings.Trim(name, "-") != name {
		return errors.New("is no name of a header: write 1 to 64 letters, digits and '-', like X-User-Email; proxies drop other characters, or confuse them with '-'")
	}
	canonical := textproto.CanonicalMIMEHeaderKey(name)
	for _, prefix := range reservedPrefixes {
		if strings.HasPrefix(canonical, prefix) {
			return fmt.Errorf("begins with %s, which has a meaning already: choose another name, like X-User-Email", prefix)
		}
	}
	if slices.Contains(reserved, canonical) {
		return errors.New("has a meaning already: choose another name, like X-User-Email")
	}
	return nil
}

var (
	reservedPrefixes = []string{"Sojourn", "Accept", "Access-Control-", "Cdn-", "Content-", "Cookie", "If-", "Proxy", "Sec-", "Secure-Session-", "Set-Cookie", "X-Accel-"}

	reserved = []string{
		"Age", "Allow", "Alt-Svc", "Authorization", "Cache-Control", "Clear-Site-Data", "Connection", "Date", "Etag", "Expect", "Expires", "Forwarded",
		"Host", "Http2-Settings", "Keep-Alive", "Last-Modified", "Link", "Location", "Max-Forwards", "Origin", "Pragma", "Range", "Referer", "Refresh",
		"Retry-After", "Server", "Strict-Transport-Security", "Surrogate-Control", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "User-Agent", "Vary",
		"Via", "Www-Authenticate", "X-Content-Type-Options", "X-Forwarded-By", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Method",
		"X-Forwarded-Path", "X-Forwarded-Port", "X-Forwarded-Prefix", "X-Forwarded-Proto", "X-Forwarded-Scheme", "X-Forwarded-Server", "X-Forwarded-Ssl",
		"X-Forwarded-Uri", "X-Http-Method-Override", "X-Original-Url", "X-Real-Ip", "X-Requested-With", "X-Rewrite-Url",
	}
)

// claims are the sources besides values.
var claims = map[string]func(*sojourn.Info) string{
	"subject":          func(i *sojourn.Info) string { return encode(i.Subject) },
	"session":          func(i *sojourn.Info) string { return i.ID.String() },
	"level":            func(i *sojourn.Info) string { return strconv.Itoa(i.Level) },
	"amr":              func(i *sojourn.Info) string { return join(i.AMR) },
	"bound":            func(i *sojourn.Info) string { return strconv.FormatBool(i.Bound) },
	"remembered":       func(i *sojourn.Info) string { return strconv.FormatBool(i.Remembered) },
	"created_at":       func(i *sojourn.Info) string { return seconds(i.CreatedAt) },
	"authenticated_at": func(i *sojourn.Info) string { return seconds(i.AuthenticatedAt) },
	"last_seen_at":     func(i *sojourn.Info) string { return seconds(i.LastSeenAt) },
	"idle_expires_at":  func(i *sojourn.Info) string { return seconds(i.IdleExpiresAt) },
	"expires_at":       func(i *sojourn.Info) string { return seconds(i.ExpiresAt) },
}

// seconds formats a time by RFC 3339, in UTC, without fractions.
func seconds(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// source returns the function for the name of a source: one of claims, value.KEY,
// or value.KEY#POINTER with a JSON Pointer (RFC 6901) into the value.
func source(name string) (func(*sojourn.Session, *sojourn.Info) (string, error), error) {
	if claim := claims[name]; claim != nil {
		return func(_ *sojourn.Session, i *sojourn.Info) (string, error) { return claim(i), nil }, nil
	}
	key, ok := strings.CutPrefix(name, "value.")
	if !ok {
		return nil, fmt.Errorf("has no such source: %q: write %s, or value. and the key of a value", name, strings.Join(slices.Sorted(maps.Keys(claims)), ", "))
	}
	var pointer []string
	if before, after, found := strings.Cut(key, "#/"); found {
		key = before
		for part := range strings.SplitSeq(after, "/") {
			if strings.Contains(strings.NewReplacer("~0", "", "~1", "").Replace(part), "~") {
				return nil, fmt.Errorf("has a malformed pointer: %q: write ~0 for ~, and ~1 for / (RFC 6901)", name)
			}
			pointer = append(pointer, strings.NewReplacer("~1", "/", "~0", "~").Replace(part))
		}
	}
	if key == "" || len(key) > 255 || !utf8.ValidString(key) || strings.ContainsFunc(key, unicode.IsControl) {
		return nil, fmt.Errorf("has no such source: %q: a key is 1 to 255 bytes of UTF-8 without control characters", name)
	}
	return func(s *sojourn.Session, _ *sojourn.Info) (string, error) {
		raw, _, err := s.Value(key)
		return textOf(at(raw, pointer)), err
	}, nil
}

// at returns the part of a JSON text at a pointer, or nil if there is none.
func at(raw json.RawMessage, pointer []string) json.RawMessage {
	for _, part := range pointer {
		var object map[string]json.RawMessage
		var array []json.RawMessage
		switch {
		case len(raw) == 0:
			return nil
		case raw[0] == '{' && json.Unmarshal(raw, &object) == nil:
			raw = object[part]
		case raw[0] == '[' && json.Unmarshal(raw, &array) == nil:
			n, err := strconv.ParseUint(part, 10, 31)
			if err != nil || n >= uint64(len(array)) || strconv.FormatUint(n, 10) != part {
				return nil
			}
			raw = array[n]
		default:
			return nil
		}
	}
	return raw
}

// textOf returns a JSON value for a header: the text of a string, the elements
// of an array with commas between them, and the JSON of everything else. Null
// and no value are empty.
func textOf(raw json.RawMessage) string {
	var array []json.RawMessage
	if len(raw) > 0 && raw[0] == '[' && json.Unmarshal(raw, &array) == nil {
		texts := make([]string, len(array))
		for i, element := range array {
			texts[i] = plain(element)
		}
		return join(texts)
	}
	return encode(plain(raw))
}

// plain returns the text of a string, and the JSON of everything else. Null and
// no value are empty.
func plain(raw json.RawMessage) string {
	var text string
	switch {
	case len(raw) == 0, string(raw) == "null":
		return ""
	case raw[0] == '"' && json.Unmarshal(raw, &text) == nil:
		return text
	}
	return string(raw)
}

// join encodes texts, and puts commas between them.
func join(texts []string) string {
	encoded := make([]string, len(texts))
	for i, text := range texts {
		encoded[i] = encode(text)
	}
	return strings.Join(encoded, ",")
}

// encode returns a text for a header. Visible ASCII stays as it is, except for
//
//	% , ; " ` \ < > { }
//
// A single space between other characters stays, too. Everything else is
// percent-encoded, byte by byte. So different texts stay different, and no
// character occurs that has a meaning for application servers, proxies or lists,
// above all no line's end.
func encode(text string) string {
	var b strings.Builder
	for i := range len(text) {
		c := text[i]
		visible := c > ' ' && c < 0x7f && !strings.ContainsRune("%,;\"`\\<>{}", rune(c))
		if visible || c == ' ' && i > 0 && text[i-1] != ' ' && i < len(text)-1 {
			b.WriteByte(c)
			continue
		}
		const hex = "0123456789ABCDEF"
		b.Write([]byte{'%', hex[c>>4], hex[c&15]})
	}
	return b.String()
}

// setChosen sets the headers that the application chose. They are empty if nobody
// is logged in, because a visitor's values don't say who the visitor is. If they
// are too long together, the longest are sent empty, because a part of a value
// could be the name of another user.
func (h *Handler) setChosen(w http.ResponseWriter, a *app, s *sojourn.Session) error {
	values, total := make([][]string, len(a.headers)), 0
	info := s.Info()
	for i, chosen := range a.headers {
		text := ""
		if info.Subject != "" {
			var err error
			if text, err = chosen.text(s, &info); err != nil {
				return err
			}
		}
		values[i] = []string{text}
		total += len(chosen.name) + len(": \r\n") + len(text)
	}
	for total > maxHeaderBytes {
		longest := 0
		for i := range values {
			if len(values[i][0]) > len(values[longest][0]) {
				longest = i
			}
		}
		if h.mayLog() {
			h.log.Warn("a header of a check is empty: its value is too long", "app", a.name, "header", a.headers[longest].name, "bytes", len(values[longest][0]))
		}
		total -= len(values[longest][0])
		values[longest][0] = ""
	}
	for i, chosen := range a.headers {
		w.Header()[chosen.name] = values[i]
	}
	return nil
}
