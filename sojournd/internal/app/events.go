package app

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/sojourn-go/sojourn/sojournd/internal/config"
	"github.com/sojourn-go/sojourn/sojournd/internal/events"
)

// openAudit opens the audit log of the configuration. It returns nil if there
// is none.
func openAudit(c config.Audit) (io.WriteCloser, error) {
	if c.File == "" {
		return nil, nil
	}
	return events.OpenAudit(events.AuditFile{
		Path: c.File, MaxBytes: int64(c.MaxSize), MaxAge: time.Duration(c.MaxAge), MaxFiles: c.Keep, Compress: true,
	})
}

// eventApps returns the webhooks of each application. It reads their secrets.
func eventApps(c *config.Config) ([]events.App, error) {
	apps := make([]events.App, len(c.Applications))
	for i := range c.Applications {
		apps[i].Name = c.Applications[i].Name
	}
	var errs []error
	for i := range c.Events.Webhooks {
		w := &c.Events.Webhooks[i]
		hook, err := webhookOf(w)
		if err == nil {
			err = hook.Check()
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("the webhook of %s: %w", w.SecretFile, err))
			continue
		}
		for i := range apps {
			if len(w.Applications) == 0 || slices.Contains(w.Applications, apps[i].Name) {
				apps[i].Webhooks = append(apps[i].Webhooks, hook)
			}
		}
	}
	return apps, errors.Join(errs...)
}

// webhookOf returns a webhook with the secrets of its file. If it returns an
// error, the webhook has no secrets.
func webhookOf(w *config.Webhook) (events.Webhook, error) {
	secrets, err := readSecrets(w.SecretFile)
	return events.Webhook{URL: w.URL, Secrets: secrets, Events: w.Events, PlainHTTP: w.PlainHTTP}, err
}

// readSecrets returns the words of a file. There are two while one secret
// replaces the other.
func readSecrets(path string) ([]string, error) {
	text, err := readSecretFile(path)
	return strings.Fields(text), err
}

// readSecretFile returns the text of a file, at most 64 KiB. It refuses a file
// that every user of the machine can read.
func readSecretFile(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if info.Mode().IsRegular() && info.Mode().Perm()&0o007 != 0 {
		return "", fmt.Errorf("anybody on this machine can read %s: chmod 600 %[1]s", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close() //nolint:errcheck // read only
	b, err := io.ReadAll(io.LimitReader(f, 64<<10))
	return string(b), err
}
