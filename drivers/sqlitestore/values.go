package sqlitestore

import (
	"errors"

	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/driver"
)

// encodeValues returns values as a JSON object. What JSON can't hold is kept packed, as a blob; nil is no values.
func encodeValues(v store.Values) any {
	if len(v) == 0 {
		return nil
	}
	if text, ok := driver.AppendValues(make([]byte, 0, len(v)+16), v); ok {
		return string(text)
	}
	return append([]byte(nil), v...)
}

var errBadData = errors.New("sqlitestore: the values of a session are no JSON object that has each key once")

// decodeValues appends to dst what encodeValues returned, or others have written to the file since.
func decodeValues(dst store.Values, column any) (store.Values, error) {
	switch data := column.(type) {
	case nil:
		return dst, nil
	case []byte:
		if store.Values(data).Check() == nil {
			return append(dst, data...), nil
		}
	case string:
		if dst, rest, err := driver.ParseValues(dst, data); err == nil && rest == "" {
			return dst, nil
		}
	}
	return nil, errBadData
}
