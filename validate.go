package sojourn

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sojourn-go/sojourn/store"
)

// checkSubject refuses what can't name a user: see Session.Login.
func checkSubject(s string) error {
	if !nameable(s) {
		return ErrSubject
	}
	return nil
}

func checkKey(name string) error {
	if !nameable(name) {
		return fmt.Errorf("%w: key %q: a key is 1 to 255 bytes of UTF-8 without control characters", ErrValue, name)
	}
	return nil
}

// nameable reports whether s is 1 to 255 bytes of UTF-8 without control
// characters.
func nameable(s string) bool {
	return s != "" && len(s) <= 255 && utf8.ValidString(s) && !hasControl(s)
}

// hasControl reports whether s, in UTF-8, holds a character of C0 or C1, or DEL.
func hasControl(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] == 0x7f || s[i] == 0xc2 && i+1 < len(s) && s[i+1] < 0xa0 {
			return true
		}
	}
	return false
}

// printable reports whether s holds only visible ASCII and blanks. It looks at 8
// bytes at a time, because every request has a user agent to check.
func printable(s string) bool {
	const each = 0x0101010101010101
	for ; len(s) >= 8; s = s[8:] {
		w := uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
			uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
		if (w|(w-each*0x20)|(w+each))&(each*0x80) != 0 {
			return false
		}
	}
	for i := range len(s) {
		if s[i] < 0x20 || s[i] >= 0x7f {
			return false
		}
	}
	return true
}

func validApp(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '.' && c != '_' && c != '-' {
			return false
		}
	}
	return len(s) >= 1 && len(s) <= 64
}

func checkLevel(level int) error {
	if level < 0 || level > 3 {
		return fmt.Errorf("%w: level %d: use 0 to 3", ErrValue, level)
	}
	return nil
}

func checkLifetime(l Lifetime) error {
	for _, d := range []time.Duration{l.Idle, l.Absolute} {
		if d != 0 && d < time.Second {
			return fmt.Errorf("%w: a lifetime of %v: use at least a second, or zero for the policy's", ErrValue, d)
		}
	}
	return nil
}

// checkJSON refuses a valid JSON text that is too large, too deep, or holds a
// character that PostgreSQL's jsonb can't.
func checkJSON(key string, json []byte, opt *Options) error {
	if len(json) > opt.MaxValue {
		return fmt.Errorf("%w: the value of key %q has %d bytes, the limit is %d", ErrTooLarge, key, len(json), opt.MaxValue)
	}
	depth, nul := inspect(json)
	if depth > opt.MaxDepth {
		return fmt.Errorf("%w: the value of key %q is nested %d deep, the limit is %d", ErrValue, key, depth, opt.MaxDepth)
	}
	if nul {
		return fmt.Errorf("%w: key %q: the character U+0000 can't be stored", ErrValue, key)
	}
	return nil
}

// checkSize refuses values that are too large together.
func checkSize(values store.Values, opt *Options) error {
	if len(values) > opt.MaxSession {
		return fmt.Errorf("%w: the session has %d bytes, the limit is %d", ErrTooLarge, len(values), opt.MaxSession)
	}
	return nil
}

// inspect returns how deep the arrays and objects of a valid JSON text are
// nested, and whether it has the escape of U+0000.
func inspect(json []byte) (depth int, nul bool) {
	open, quoted := 0, false
	for i := 0; i < len(json); i++ {
		switch json[i] {
		case '"':
			quoted = !quoted
		case '\\':
			nul = nul || i+5 < len(json) && string(json[i+1:i+6]) == "u0000"
			i++ // the escaped character, which may be a backslash or a quote
		case '[', '{':
			if !quoted {
				open++
				depth = max(depth, open)
			}
		case ']', '}':
			if !quoted {
				open--
			}
		}
	}
	return depth, nul
}

// maxAMR is the number of bytes of a login's methods together.
const maxAMR = 255

// joinAMR returns the methods of an authentication as a record keeps them. It
// checks them before it joins them, so that splitAMR returns the same ones.
func joinAMR(methods []string) (string, error) {
	for _, m := range methods {
		if m == "" || strings.ContainsFunc(m, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
			return "", fmt.Errorf("%w: amr: the method %q: use words of visible ASCII, as in RFC 8176", ErrValue, m)
		}
	}
	amr := strings.Join(methods, " ")
	if len(amr) > maxAMR {
		return "", fmt.Errorf("%w: amr: the methods have %d bytes: use a few words of RFC 8176, at most %d bytes", ErrValue, len(amr), maxAMR)
	}
	return amr, nil
}

// splitAMR is the reverse of joinAMR.
func splitAMR(amr string) []string {
	return strings.FieldsFunc(amr, func(r rune) bool { return r == ' ' })
}

// mergeAMR adds methods to those that were used before.
func mergeAMR(have, more string) string {
	list := splitAMR(have)
	for _, m := range splitAMR(more) {
		if !slices.Contains(list, m) {
			list = append(list, m)
		}
	}
	return strings.Join(list, " ")
}

const maxUserAgent = 255 // bytes of a user agent that are kept

// cleanUserAgent returns what every store can keep of a User-Agent header.
func cleanUserAgent(ua string) string {
	if len(ua) > maxUserAgent {
		ua = ua[:maxUserAgent]
	}
	if !printable(ua) && (!utf8.ValidString(ua) || hasControl(ua)) {
		ua = strings.Map(func(r rune) rune {
			if r == utf8.RuneError || r < 0x20 || r >= 0x7f && r < 0xa0 {
				return -1
			}
			return r
		}, ua)
	}
	return ua
}
