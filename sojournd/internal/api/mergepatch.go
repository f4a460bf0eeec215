package api

import (
	"bytes"
	stdjson "encoding/json"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/sojourn-go/sojourn/sojournd/internal/api/v1"
)

// mergeValues returns the values that a merge patch (RFC 7396) changes. A
// removed value is nil.
func mergeValues(values stdjson.RawMessage, patch v1.Patch) (map[string]stdjson.RawMessage, error) {
	var now map[string]jsontext.Value
	if err := json.Unmarshal(values, &now); err != nil {
		return nil, err
	}
	changes := make(map[string]stdjson.RawMessage, len(patch))
	for key, change := range patch {
		if isNull(jsontext.Value(change)) {
			changes[key] = nil
			continue
		}
		merged, err := mergeValue(now[key], jsontext.Value(change))
		if err != nil {
			return nil, err
		}
		changes[key] = stdjson.RawMessage(merged)
	}
	return changes, nil
}

func mergeValue(target, patch jsontext.Value) (jsontext.Value, error) {
	if patch.Kind() != '{' {
		return patch, nil
	}
	change, err := parse(patch)
	if err != nil {
		return nil, err
	}
	var into any
	if target.Kind() == '{' {
		if into, err = parse(target); err != nil {
			return nil, err
		}
	}
	merged, err := merge(into, change)
	if err != nil {
		return nil, err
	}
	return json.Marshal(merged, json.Deterministic(true))
}

// maxDepth is how deep a patch may be nested.
const maxDepth = 64

// members are the members of an object. Each is members again, or a
// jsontext.Value of another type, so numbers keep their digits.
type members map[string]any

// parse reads a text once, whatever its depth. Objects deeper than maxDepth
// stay a jsontext.Value.
func parse(v jsontext.Value) (any, error) {
	return parseNext(jsontext.NewDecoder(bytes.NewReader(v)), 1)
}

func parseNext(d *jsontext.Decoder, depth int) (any, error) {
	if d.PeekKind() != '{' || depth > maxDepth {
		v, err := d.ReadValue()
		return v.Clone(), err
	}
	if _, err := d.ReadToken(); err != nil {
		return nil, err
	}
	m := members{}
	for d.PeekKind() != '}' {
		name, err := d.ReadToken()
		if err != nil {
			return nil, err
		}
		key := name.String() // the next read invalidates name
		if m[key], err = parseNext(d, depth+1); err != nil {
			return nil, err
		}
	}
	_, err := d.ReadToken()
	return m, err
}

// merge implements MergePatch of RFC 7396, section 2. It may change the target.
func merge(target, patch any) (any, error) {
	change, ok := patch.(members)
	if !ok {
		if patch.(jsontext.Value).Kind() == '{' {
			return nil, invalid("", "is nested too deeply for a patch")
		}
		return patch, nil
	}
	into, ok := target.(members)
	if !ok {
		into = members{}
	}
	for name, value := range change {
		if v, ok := value.(jsontext.Value); ok && isNull(v) {
			delete(into, name)
			continue
		}
		merged, err := merge(into[name], value)
		if err != nil {
			return nil, err
		}
		into[name] = merged
	}
	return into, nil
}

func isNull(v jsontext.Value) bool { return v.Kind() == 'n' }
