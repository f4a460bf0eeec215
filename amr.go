package sojourn

import (
	"fmt"
	"slices"
	"strings"
)

// maxAMR is the number of bytes of a login's methods together.
const maxAMR = 255

// joinWords returns the methods of an authentication as a record keeps them.
// They are checked before they are joined, so that splitWords returns the same
// ones.
func joinWords(methods []string) (string, error) {
	for _, m := range methods {
		if m == "" || strings.ContainsFunc(m, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
			return "", fmt.Errorf("%w: amr: the method %q: use words of visible ASCII, as RFC 8176 has them", ErrValue, m)
		}
	}
	amr := strings.Join(methods, " ")
	if len(amr) > maxAMR {
		return "", fmt.Errorf("%w: amr: the methods have %d bytes: use a few words of RFC 8176, at most %d bytes", ErrValue, len(amr), maxAMR)
	}
	return amr, nil
}

// splitWords is the reverse of joinWords.
func splitWords(amr string) []string {
	return strings.FieldsFunc(amr, func(r rune) bool { return r == ' ' })
}

// mergeAMR adds methods to those that were used before.
func mergeAMR(have, more string) string {
	list := splitWords(have)
	for _, m := range splitWords(more) {
		if !slices.Contains(list, m) {
			list = append(list, m)
		}
	}
	return strings.Join(list, " ")
}
