package events

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/sojournd/internal/api/v1"
)

// A Webhook receives events by the Standard Webhooks specification
// (standardwebhooks.com).
type Webhook struct {
	// URL is https://…, or http://… on loopback or with PlainHTTP.
	URL       string
	PlainHTTP bool

	// Secrets sign the messages: "whsec_" and the base64 of 24 to 64 bytes. A
	// message has a signature by each, so a secret can be replaced without a
	// break.
	Secrets []string

	// Events are the kinds to send. Default: all except refused, rotated,
	// throttled and write_failed, which are frequent or can be caused by
	// strangers.
	Events []string
}

// Kinds returns all kinds of events.
func Kinds() []string {
	kinds := []string{v1.KindGap}
	for _, k := range []sojourn.EventKind{
		sojourn.EventCreated, sojourn.EventAuthenticated, sojourn.EventElevated, sojourn.EventRotated, sojourn.EventEnded, sojourn.EventEndedAll,
		sojourn.EventRefused, sojourn.EventThrottled, sojourn.EventClientChanged, sojourn.EventAdopted, sojourn.EventWriteFailed,
	} {
		kinds = append(kinds, string(k))
	}
	return kinds
}

// quietKinds are the kinds that a webhook gets only if it names them.
var quietKinds = []string{
	string(sojourn.EventRefused), string(sojourn.EventRotated), string(sojourn.EventThrottled), string(sojourn.EventWriteFailed),
}

// Check returns every mistake in the webhook. The errors do not show the
// secrets.
func (w Webhook) Check() error {
	errs := []error{w.CheckURL(), w.CheckSecrets()}
	for _, kind := range w.Events {
		if !slices.Contains(Kinds(), kind) {
			errs = append(errs, fmt.Errorf("%q is no kind of event: use %s", kind, strings.Join(Kinds(), ", ")))
		}
	}
	return errors.Join(errs...)
}

// CheckURL checks only the URL.
func (w Webhook) CheckURL() error {
	u, err := url.Parse(w.URL)
	switch {
	case err != nil, u.Scheme != "https" && u.Scheme != "http", u.Host == "", u.Hostname() == "", u.Fragment != "":
		return errors.New("a webhook's URL reads https://host/path") // the text may hold a password
	case u.Scheme == "http" && !w.PlainHTTP && !isLoopback(u.Hostname()):
		return fmt.Errorf("a webhook to http://%s would send users' data in the clear: use https://, or allow plain HTTP", u.Host)
	}
	return nil
}

// CheckSecrets checks only the secrets.
func (w Webhook) CheckSecrets() error {
	if len(w.Secrets) == 0 {
		return errors.New(`a webhook needs a secret: "whsec_" and the base64 of 24 to 64 random bytes`)
	}
	var errs []error
	for i, s := range w.Secrets {
		if _, err := decodeSecret(s); err != nil {
			errs = append(errs, fmt.Errorf("secret %d: %w", i+1, err))
		}
	}
	return errors.Join(errs...)
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || err == nil && ip.IsLoopback()
}

// decodeSecret accepts both alphabets of base64, with and without padding.
func decodeSecret(s string) ([]byte, error) {
	text, ok := strings.CutPrefix(s, "whsec_")
	if !ok {
		return nil, errors.New(`a webhook's secret begins with "whsec_"`)
	}
	text = strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(text, "="))
	key, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil {
		return nil, errors.New(`what follows "whsec_" is not base64`) // the error would show a part
	}
	if len(key) < 24 || len(key) > 64 {
		return nil, fmt.Errorf("a webhook's secret has 24 to 64 bytes; this one has %d", len(key))
	}
	return key, nil
}

// A target is a checked Webhook.
type target struct {
	url   string
	name  string // for logs: the URL without user, password and query
	keys  [][]byte
	kinds map[string]bool
}

func targets(hooks []Webhook) ([]target, error) {
	var errs []error
	var list []target
	for _, w := range hooks {
		t := target{url: w.URL, name: "webhook", kinds: map[string]bool{}}
		if u, err := url.Parse(w.URL); err == nil {
			t.name = (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
		}
		if err := w.Check(); err != nil {
			errs = append(errs, err)
			continue
		}
		if slices.ContainsFunc(list, func(o target) bool { return o.url == t.url }) {
			errs = append(errs, fmt.Errorf("the webhook %s is there twice", t.name))
		}
		for _, s := range w.Secrets {
			key, _ := decodeSecret(s) // Check has tried it
			t.keys = append(t.keys, key)
		}
		for _, kind := range Kinds() {
			t.kinds[kind] = slices.Contains(w.Events, kind) || len(w.Events) == 0 && !slices.Contains(quietKinds, kind)
		}
		list = append(list, t)
	}
	return list, errors.Join(errs...)
}

// sign returns the header webhook-signature.
func sign(keys [][]byte, id string, at time.Time, body []byte) string {
	signatures := make([]string, len(keys))
	for i, key := range keys {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(id + "." + strconv.FormatInt(at.Unix(), 10) + "."))
		mac.Write(body)
		signatures[i] = "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	}
	return strings.Join(signatures, " ")
}

// payload is the body of a message: type, timestamp and data.
func payload(e *v1.Event, encoded []byte) []byte {
	return fmt.Appendf(nil, `{"type":"session.%s","timestamp":"%s","data":%s}`, e.Kind, e.Time.Format(time.RFC3339Nano), encoded)
}
