package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/sojourn-go/sojourn/sojournd/internal/app"
	"github.com/sojourn-go/sojourn/sojournd/internal/config"
)

// configFlags are the configuration file and the flags that override it. The
// tag yaml is the setting that a flag overrides.
type configFlags struct {
	Config string            `env:"SOJOURN_CONFIG" type:"path" placeholder:"FILE" help:"The configuration file. To print an example: sojournd config example."`
	Set    map[string]string `placeholder:"SETTING=VALUE" mapsep:"none" help:"Override a setting of the file, for example --set limits.body=2MiB. Separate the items of a list by commas. May be repeated. Environment variables override settings too, for example SOJOURN_LIMITS_BODY."`
	config.Store
	APIListen      string `yaml:"api.listen" name:"api-listen" placeholder:"ADDRESS" help:"Where the API listens: host:port or unix:/path. Separate several by commas."`
	InternalListen string `yaml:"internal.listen" placeholder:"ADDRESS" help:"Where /check, /metrics, /healthz and /readyz listen."`
	LogLevel       string `yaml:"log.level" placeholder:"LEVEL" help:"debug, info, warn or error."`
	LogFormat      string `yaml:"log.format" placeholder:"FORMAT" help:"text or json."`
}

func (f *configFlags) Validate() error {
	set := config.Store{URL: f.Set["store"], Feed: f.Set["store_feed"]}
	if err := set.Validate(); err != nil {
		return err
	}
	return f.Store.Validate()
}

func (f *configFlags) options(out output) app.ServeOptions {
	flags := config.Flags{}
	maps.Copy(flags, f.Set)
	maps.Copy(flags, config.FlagsOf(*f))
	return app.ServeOptions{Config: f.Config, Environ: os.Environ(), Flags: flags, Out: out.stdout, Log: out.stderr, Version: version()}
}

type serve struct{ configFlags }

func (s *serve) Run(ctx context.Context, out output) error {
	o := s.options(out)
	sockets, err := app.Sockets()
	if err != nil {
		return err
	}
	o.Sockets = sockets
	reload := make(chan os.Signal, 1) // one that waits is enough: the file is read after it
	signal.Notify(reload, syscall.SIGHUP)
	defer signal.Stop(reload)
	o.Reload = reload
	return app.RunServe(ctx, o)
}

type configCommand struct {
	Check   configCheck   `cmd:"" help:"Report every mistake in the configuration, its place, and what to write instead."`
	Example configExample `cmd:"" help:"Print a configuration with every setting, its default and its purpose."`
}

type configCheck struct{ configFlags }

func (c *configCheck) Run(out output) error { return app.CheckConfig(c.options(out)) }

type configExample struct{}

func (*configExample) Run(out output) error {
	_, err := fmt.Fprint(out.stdout, config.Example)
	return err
}

type keysCommand struct {
	New keysNew `cmd:"" help:"Create an API key: print the key, and its hash for the configuration. With --seal, create a key for sealed sessions."`
}

type keysNew struct {
	Seal bool   `help:"Create a key for sealed sessions (applications[].sealed)."`
	File string `type:"path" placeholder:"FILE" help:"With --seal: append the key to this file instead of printing it. A new file is readable by its owner only."`
	JSON bool   `help:"Print JSON."`
}

func (k *keysNew) Validate() error {
	if k.File != "" && !k.Seal {
		return errors.New("--file is for --seal: an API key is only printed")
	}
	return nil
}

func (k *keysNew) Run(out output) error {
	if k.Seal {
		return app.NewSealKey(app.SealKeyOptions{File: k.File, JSON: k.JSON, Out: out.stdout, Now: time.Now()})
	}
	return app.NewKey(out.stdout, k.JSON)
}

type operatorsCommand struct {
	Add    operatorsAdd    `cmd:"" help:"Make an account for the console. Asks for a password, or reads it from standard input, and prints what to put into the configuration."`
	Remove operatorsRemove `cmd:"" help:"Print which lines to take out of the configuration, so that an operator can't sign in any more."`
	List   operatorsList   `cmd:"" help:"Print the operators of the configuration and their roles."`
}

type operatorsAdd struct {
	Name string `arg:"" help:"The operator's name."`
	JSON bool   `help:"Print JSON."`
}

func (o *operatorsAdd) Run(ctx context.Context, out output) error {
	return app.AddOperator(ctx, out.stdout, app.PasswordSource{In: os.Stdin, Prompt: out.stderr}, o.Name, o.JSON)
}

type operatorsRemove struct {
	configFlags
	Name string `arg:"" help:"The operator's name."`
}

func (o *operatorsRemove) Run(out output) error { return app.RemoveOperator(o.options(out), o.Name) }

type operatorsList struct {
	configFlags
	JSON bool `help:"Print JSON."`
}

func (o *operatorsList) Run(out output) error { return app.ListOperators(o.options(out), o.JSON) }
