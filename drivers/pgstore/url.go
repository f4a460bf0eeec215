package pgstore

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// keepAlive and unacknowledged limit how long a lost connection stays unnoticed:
// an idle one, and one with unanswered data.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 2 * time.Second, Count: 3}

const unacknowledged = 10 * time.Second

// connectFactor times the timeout of a call is the deadline of a new connection.
// A connection takes several round trips, and no call waits only for it.
const connectFactor = 5

// CheckURL returns the ErrURL that Open would return for a URL, without
// connecting. The error contains no password.
func CheckURL(url string) error {
	if _, err := parse(url, &Options{}); err != nil {
		return fmt.Errorf("pgstore: %w", err)
	}
	return nil
}

// parse reads a URL, and sets opt.Schema to the URL's schema, unless it is set.
// Its errors contain no password, because they contain no part of the URL.
func parse(text string, opt *Options) (*pgxpool.Config, error) {
	if !strings.HasPrefix(text, "postgres://") && !strings.HasPrefix(text, "postgresql://") {
		return nil, fmt.Errorf("%w: it must begin with postgres://, as in postgres://user@host:5432/database", ErrURL)
	}
	config, err := pgxpool.ParseConfig(text)
	if err != nil {
		return nil, fmt.Errorf("%w: %s", ErrURL, reason(err))
	}
	if schema, ok := config.ConnConfig.RuntimeParams["schema"]; ok {
		if !isSchemaName(schema) {
			return nil, fmt.Errorf("%w: %w", ErrURL, errSchemaName)
		}
		delete(config.ConnConfig.RuntimeParams, "schema") // else it would go to the server
		if opt.Schema == "" {
			opt.Schema = schema
		}
	}
	for name := range config.ConnConfig.RuntimeParams {
		if instead, known := foreign[strings.ToLower(name)]; known {
			return nil, fmt.Errorf("%w: it has a parameter %s of another driver: %s", ErrURL, name, instead)
		}
	}
	if opt.Password != "" {
		config.ConnConfig.Password = opt.Password
	}
	if config.ConnConfig.ConnectTimeout == 0 {
		config.ConnConfig.ConnectTimeout = connectFactor * opt.Timeout
	}
	config.ConnConfig.DialFunc = (&net.Dialer{KeepAliveConfig: keepAlive, Control: limitUnacknowledged}).DialContext
	// Use the primary, whatever target_session_attrs says: a standby lags, so
	// ended sessions would be live there.
	config.ConnConfig.ValidateConnect = takesWrites
	config.ConnConfig.OnNotice = noteUnreplicated
	if config.ConnConfig.RuntimeParams["application_name"] == "" {
		config.ConnConfig.RuntimeParams["application_name"] = "sojourn"
	}
	return config, nil
}

// foreign are parameters of other drivers' URLs, with advice. pgx sends an
// unknown parameter as a setting to the server, which refuses the connection.
var foreign = map[string]string{
	"currentschema":    "write schema=sojourn, with the schema's name",
	"search_path":      "write schema=sojourn, with the schema's name",
	"pgbouncer":        "leave it out: the store notices a pooler",
	"connection_limit": "leave it out",
}

var quoted = regexp.MustCompile("`.*`|\"[^\"]*\"")

// reason returns the text of an error about a URL, without its quotations of the
// URL.
func reason(err error) string {
	said := err.Error()
	var bad *url.Error
	if errors.As(err, &bad) {
		said = bad.Err.Error()
	} else if i := strings.LastIndex(said, "`: "); i >= 0 { // the URL stands before it
		said = said[i+len("`: "):]
	}
	return quoted.ReplaceAllString(said, "...")
}
