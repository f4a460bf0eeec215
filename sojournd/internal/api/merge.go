package api

import (
	stdjson "encoding/json"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// mergeValues returns the values that a merge patch (RFC 7396) changes, nil for those that it removes.
func mergeValues(values stdjson.RawMessage, patch Patch) (map[string]stdjson.RawMessage, error) {
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
		merged, err := merge(now[key], jsontext.Value(change), 1)
		if err != nil {
			return nil, err
		}
		changes[key] = stdjson.RawMessage(merged)
	}
	return changes, nil
}

// maxDepth bounds the work of a merge, which reads each object again at every level.
const maxDepth = 64

// merge is MergePatch of RFC 7396, section 2. Numbers keep their digits.
func merge(target, patch jsontext.Value, depth int) (jsontext.Value, error) {
	if patch.Kind() != '{' {
		return patch, nil
	}
	if depth > maxDepth {
		return nil, invalid("", "is nested too deeply for a patch")
	}
	var members, change map[string]jsontext.Value
	if target.Kind() == '{' {
		if err := json.Unmarshal(target, &members); err != nil {
			return nil, err
		}
	}
	if members == nil {
		members = map[string]jsontext.Value{}
	}
	if err := json.Unmarshal(patch, &change); err != nil {
		return nil, err
	}
	for name, value := range change {
		if isNull(value) {
			delete(members, name)
			continue
		}
		merged, err := merge(members[name], value, depth+1)
		if err != nil {
			return nil, err
		}
		members[name] = merged
	}
	return json.Marshal(members, json.Deterministic(true))
}

func isNull(v jsontext.Value) bool { return v.Kind() == 'n' }
