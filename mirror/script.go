package mirror

import (
	_ "embed"
	"encoding/json"
	"fmt"

	"github.com/sojourn-go/sojourn/internal/script"
)

//go:embed mirror.js
var source string

// newScript returns the script with a declaration of keys in it.
func newScript(keys []Key) (s script.Script, err error) {
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
	if s, err = script.New(source, declaration); err != nil {
		return s, fmt.Errorf("%w: declare fewer keys or allowed values", err)
	}
	return s, nil
}
