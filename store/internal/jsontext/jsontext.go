// Package jsontext finds the ends of values in JSON text without decoding it.
// It serves the stores and the comparison of values, which copy and compare
// text as it is. Each function takes a string or bytes and allocates nothing.
package jsontext

// SkipBlanks returns text without the white space at its beginning.
func SkipBlanks[Text ~string | ~[]byte](text Text) Text {
	for len(text) > 0 && (text[0] == ' ' || text[0] == '\n' || text[0] == '\r' || text[0] == '\t') {
		text = text[1:]
	}
	return text
}

// StringEnd returns the length of the string at the beginning of text,
// including its quotes, or -1 if text does not begin with a whole string.
func StringEnd[Text ~string | ~[]byte](text Text) int {
	if len(text) == 0 || text[0] != '"' {
		return -1
	}
	for i := 1; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return -1
}

// ValueEnd returns the length of the value at the beginning of text. The value
// extends to the first comma or closing bracket that is not inside it. ValueEnd
// returns -1 if there is neither.
func ValueEnd[Text ~string | ~[]byte](text Text) int {
	depth := 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '"':
			n := StringEnd(text[i:])
			if n < 0 {
				return -1
			}
			i += n - 1
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return i
			}
			depth--
		case ',':
			if depth == 0 {
				return i
			}
		}
	}
	return -1
}
