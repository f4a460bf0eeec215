package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sojourn-go/sojourn/sojournd/internal/config"
	"github.com/sojourn-go/sojourn/sojournd/internal/events"
	"github.com/sojourn-go/sojourn/sojournd/internal/forwardauth"
	"github.com/sojourn-go/sojourn/store/memstore"
)

// CheckConfig reports every mistake in the configuration and in the files that
// it names, or prints that there is none. RunServe accepts a configuration
// without mistakes, unless the machine refuses it: the store does not answer,
// or an address is in use.
func CheckConfig(o ServeOptions) error {
	c, err := load(o)
	if err != nil {
		return err
	}
	if err := rehearse(o, c); err != nil {
		return err
	}
	for _, warning := range c.Warnings() {
		if _, err := fmt.Fprintf(o.Out, "%s: warning: %s\n", o.Config, warning); err != nil {
			return err
		}
	}
	note := ""
	if !c.HasKeys() {
		note = " No application has a key, so there is no API: sojournd keys new makes a key."
	}
	_, err = fmt.Fprintf(o.Out, "%s is right: %s.%s\n", o.Config, applications(c), note)
	return err
}

// rehearse builds every part of the server on a store in memory, because a part
// may refuse what load accepts.
func rehearse(o ServeOptions, c *config.Config) error {
	s := &server{opt: o, level: new(slog.LevelVar), log: slog.New(slog.DiscardHandler), store: &openedStore{Store: memstore.New()}}
	if err := s.build(c, nil); err != nil {
		return err
	}
	return errors.Join(s.apply(c), s.closeAll(context.Background()), s.store.Close())
}

// checkParts runs the checks of the parts that use the configuration, and
// checks the files that it names.
func checkParts(c *config.Config, wrong config.Reporter) {
	for _, err := range StoreOptions(c.Store).mistakes() {
		wrong(settingOf(err))
	}
	for name, t := range map[string]config.TLS{"api.tls": c.API.TLS, "internal.tls": c.Internal.TLS, "console.tls": c.Console.TLS} {
		if t.Certificate == "" || t.Key == "" {
			continue
		}
		if _, err := loadCertificate(t); err != nil {
			wrong(name, "%v: write the paths of two PEM files that the server's user can read", err)
		}
	}
	if audit := c.Events.Audit.File; filepath.IsAbs(audit) {
		if err := checkAudit(audit); err != nil {
			wrong("events.audit.file", "%v", err)
		}
	}
	for i := range c.Events.Webhooks {
		path := fmt.Sprintf("events.webhooks[%d]", i)
		hook, err := webhookOf(&c.Events.Webhooks[i])
		if err := hook.CheckURL(); err != nil {
			wrong(path+".url", "%v", err)
		}
		if err == nil {
			err = hook.CheckSecrets()
		}
		if err != nil {
			wrong(path+".secret_file", "%s", strings.ReplaceAll(err.Error(), "\n", "; "))
		}
	}
	checkPages(c, wrong)
	for i := range c.Applications {
		a, path := &c.Applications[i], fmt.Sprintf("applications[%d]", i)
		if err := forwardauth.CheckPage(a.LoginURL); err != nil {
			wrong(path+".login_url", "%v", err)
		}
		if err := forwardauth.CheckPage(a.StepUpURL); err != nil {
			wrong(path+".step_up_url", "%v", err)
		}
		if filepath.IsAbs(a.Sealed.KeysFile) {
			if _, err := readSealKeys(a.Sealed.KeysFile); err != nil {
				wrong(path+".sealed.keys_file", "%v", err)
			}
		}
		if time.Time(a.Sealed.NotBefore).After(time.Now()) {
			wrong(path+".sealed.not_before", "is in the future, and until then every login would have ended: write a time that has passed")
		}
		if a.PassiveHeader != "" {
			if err := forwardauth.CheckHeaderName(a.PassiveHeader); err != nil {
				wrong(path+".passive_header", "%v", err)
			}
		}
		for name, source := range a.Headers {
			if err := forwardauth.CheckHeader(name, source); err != nil {
				wrong(path+".headers."+name, "%v", err)
			}
		}
		if err := forwardauth.CheckHeaders(a.Headers); err != nil {
			wrong(path+".headers", "%v", err)
		}
		for name, origins := range map[string][]string{"return_origins": a.ReturnOrigins, "origins": a.Origins} {
			for j, origin := range origins {
				if err := forwardauth.CheckOrigin(origin); err != nil {
					wrong(fmt.Sprintf("%s.%s[%d]", path, name, j), "%v", err)
				}
			}
		}
	}
}

// settingOf turns a mistake in a flag of the store into one in a setting.
func settingOf(err error) (path, format string, text string) {
	flag, text, _ := strings.Cut(err.Error(), " ")
	if !strings.HasPrefix(flag, "--store") { // the machine has no state directory
		return "", "%s", err.Error()
	}
	path = strings.ReplaceAll(strings.Trim(flag, "-:"), "-", "_")
	return path, "%s", strings.ReplaceAll(text, "--store ", "")
}

// checkAudit checks whether an audit log can be written there. It creates
// nothing.
func checkAudit(path string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		dir := filepath.Dir(path)
		if info, err := os.Stat(dir); err != nil || !info.IsDir() {
			return fmt.Errorf("there is no directory %s: make it, for the server's user to write to", dir)
		}
		return nil
	case err != nil:
		return err
	case info.IsDir():
		return fmt.Errorf("%s is a directory: name a file in it", path)
	case !info.Mode().IsRegular():
		return nil // opening a pipe may block
	}
	if err := events.CheckAudit(path); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	return f.Close()
}
