package app

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/sojourn-go/sojourn/sojournd/internal/api"
)

// NewKey prints a new API key and its hash.
func NewKey(out io.Writer, asJSON bool) error {
	key, hash := api.NewKey()
	if asJSON {
		return json.NewEncoder(out).Encode(map[string]string{"key": key, "hash": hash})
	}
	_, err := fmt.Fprintf(out, "key    %s\nhash   %s\n\nThe key is a secret of the application. It is not shown again. Put its hash into the configuration:\n\n"+
		"    keys:\n      - name: backend\n        hash: %s\n\nThen run systemctl reload sojournd, or send SIGHUP.\n", key, hash, hash)
	return err
}
