// Package script serves the library's scripts for pages: small, compressed, and
// under an address that changes with the content.
package script

import (
	"bytes"
	"compress/gzip"
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Max limits a script, in compressed bytes.
const Max = 2048

// A Script is what browsers get. Its methods may be called concurrently.
type Script struct {
	Plain, Gzipped []byte
	Integrity      string // W3C Subresource Integrity
	Version        string // changes with the content
}

// New returns the script of a source, without its comments and indentation. Then
// the word DECLARED becomes the declaration, which is JSON. New refuses a script
// that has more than Max bytes, compressed.
//
// The source has only strings in double quotes, and a comment has a line of its
// own. Each line ends with a statement, a comma or a brace.
func New(source string, declaration []byte) (s Script, err error) {
	s.Plain = []byte(strings.Replace(compact(source), "DECLARED", string(declaration), 1))
	var b bytes.Buffer
	z, _ := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if _, err := z.Write(s.Plain); err != nil {
		return s, err
	}
	if err := z.Close(); err != nil {
		return s, err
	}
	if s.Gzipped = b.Bytes(); len(s.Gzipped) > Max {
		return s, fmt.Errorf("the script has %d bytes, compressed, and the limit is %d", len(s.Gzipped), Max)
	}
	sum := sha512.Sum384(s.Plain)
	s.Integrity = "sha384-" + base64.StdEncoding.EncodeToString(sum[:])
	s.Version = base64.RawURLEncoding.EncodeToString(sum[:9])
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

// ServeHTTP answers GET and HEAD with the script. With ?v= and its version in the
// address, browsers may keep it for a year. Under the address of another version
// they get this version, and must not store it: a page with the other version's
// hash refuses it.
func (s *Script) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/javascript; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Add("Vary", "Accept-Encoding")
	h.Set("Etag", `"`+s.Version+`"`)
	switch r.URL.Query().Get("v") {
	case s.Version:
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	case "":
		h.Set("Cache-Control", "public, max-age=3600, stale-while-revalidate=604800")
	default:
		h.Set("Cache-Control", "no-store")
	}
	body := s.Plain
	if acceptsGzip(r) {
		h.Set("Content-Encoding", "gzip")
		h.Set("Etag", `"`+s.Version+`-gzip"`)
		body = s.Gzipped
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
