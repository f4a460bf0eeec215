package sqlitestore

import (
	"errors"

	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/driver"
)

// encodeValues returns values as a JSON object, as a packed blob if JSON can't
// hold them, or nil for no values.
func encodeValues(v store.Values) any {
	if len(v) == 0 {
		return nil
	}
	if text, ok := driver.AppendValues(make([]byte, 0, len(v)+16), v); ok {
		return string(text)
	}
	return append([]byte(nil), v...)
}

var errBadData = errors.New("sqlitestore: the values of a session are not a JSON object with distinct keys")

// decodeValues appends to dst the values of a column. encodeValues wrote them,
// or another program has changed them since.
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
