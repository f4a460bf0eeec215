package pgstore

import (
	"strings"
	"unicode/utf8"
)

// PostgreSQL's type text holds UTF-8 without NUL. Names may be any bytes, and
// compare byte for byte. escape writes other bytes as \x00 and a backslash as \\,
// so that different names stay different and usual names stay readable.

const hexDigits = "0123456789abcdef"

func escape(s string) string {
	if utf8.ValidString(s) && !strings.ContainsAny(s, "\\\x00") {
		return s
	}
	b := make([]byte, 0, len(s)+8)
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == '\\':
			b = append(b, '\\', '\\')
		case r == 0, r == utf8.RuneError && n == 1:
			b = append(b, '\\', 'x', hexDigits[s[0]>>4], hexDigits[s[0]&15])
		default:
			b = append(b, s[:n]...)
		}
		s = s[n:]
	}
	return string(b)
}

// unescape reverses escape. It doesn't change escapes that escape doesn't write,
// which another program has written.
func unescape(s string) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) && s[i+1] == '\\' {
			i++
		} else if s[i] == '\\' && i+3 < len(s) && s[i+1] == 'x' {
			high, low := strings.IndexByte(hexDigits, s[i+2]), strings.IndexByte(hexDigits, s[i+3])
			if high >= 0 && low >= 0 {
				b = append(b, byte(high<<4|low))
				i += 3
				continue
			}
		}
		b = append(b, s[i])
	}
	return string(b)
}
