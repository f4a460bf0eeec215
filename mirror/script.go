package mirror

import (
	"bytes"
	"compress/gzip"
	"crypto/sha512"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

//go:embed mirror.js
var source string

// maxScript limits the script, in compressed bytes.
const maxScript = 2048

// A script is the script with a declaration of keys in it.
type script struct {
	plain, gzipped []byte
	integrity      string
	version        string // changes with the content
}

func newScript(keys []Key) (s script, err error) {
	type declared struct {
		Attribute string   `json:"attribute,omitempty"`
		Values    []string `json:"values,omitempty"`
		Personal  bool     `json:"personal,omitempty"`
	}
	all := make(map[string]declared, len(keys))
	for _, k := range keys {
		all[k.Name] = declared{k.Attribute, k.Values, k.Personal}
	}
	declaration, err := json.Marshal(all)
	if err != nil {
		return s, err
	}
	s.plain = []byte(strings.Replace(compact(source), "DECLARED", string(declaration), 1))
	var b bytes.Buffer
	z, _ := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if _, err := z.Write(s.plain); err != nil {
		return s, err
	}
	if err := z.Close(); err != nil {
		return s, err
	}
	if s.gzipped = b.Bytes(); len(s.gzipped) > maxScript {
		return s, fmt.Errorf("the script with the declared keys has %d bytes, compressed, and the limit is %d: declare fewer keys or allowed values", len(s.gzipped), maxScript)
	}
	sum := sha512.Sum384(s.plain)
	s.integrity = "sha384-" + base64.StdEncoding.EncodeToString(sum[:])
	s.version = base64.RawURLEncoding.EncodeToString(sum[:9])
	return s, nil
}

// compact removes the comments, the indentation, and the blanks beside punctuation
// from the source. It recognises only strings in double quotes, so no other string
// of the source may hold a blank.
func compact(source string) string {
	var b strings.Builder
	for line := range strings.Lines(source) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "//") {
			continue
		}
		for i, part := range strings.Split(line, `"`) {
			if i > 0 {
				b.WriteByte('"')
			}
			if i%2 == 0 {
				part = dropBlanks(part)
			}
			b.WriteString(part)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// dropBlanks keeps the blanks between two words.
func dropBlanks(code string) string {
	out := make([]byte, 0, len(code))
	for i := range len(code) {
		if code[i] == ' ' && (i == 0 || i+1 == len(code) || !wordByte(code[i-1]) || !wordByte(code[i+1])) {
			continue
		}
		out = append(out, code[i])
	}
	return string(out)
}

func wordByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '$'
}

// serve answers with the script. Under the address that Tag returns, browsers may
// keep it for a year. Under the address of another version they get this version,
// and must not store it: a page with the other version's hash refuses it.
func (s *script) serve(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/javascript; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Add("Vary", "Accept-Encoding")
	h.Set("Etag", `"`+s.version+`"`)
	switch r.URL.Query().Get("v") {
	case s.version:
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	case "":
		h.Set("Cache-Control", "public, max-age=3600, stale-while-revalidate=604800")
	default:
		h.Set("Cache-Control", "no-store")
	}
	body := s.plain
	if acceptsGzip(r) {
		h.Set("Content-Encoding", "gzip")
		h.Set("Etag", `"`+s.version+`-gzip"`)
		body = s.gzipped
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
}

// acceptsGzip reports whether a request takes gzip (RFC 9110, section 12.5.3).
func acceptsGzip(r *http.Request) bool {
	for _, line := range r.Header["Accept-Encoding"] {
		for coding := range strings.SplitSeq(line, ",") {
			name, weight, _ := strings.Cut(coding, ";")
			if strings.EqualFold(strings.TrimSpace(name), "gzip") {
				q, weighed := strings.CutPrefix(strings.TrimSpace(weight), "q=")
				value, err := strconv.ParseFloat(q, 64)
				return !weighed || err == nil && value > 0
			}
		}
	}
	return false
}
