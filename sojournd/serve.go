package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/sojourn-go/sojourn/sojournd/internal/app"
)

// configFlag names the configuration, and what overrides it.
type configFlag struct {
	Config string            `env:"SOJOURN_CONFIG" type:"path" placeholder:"FILE" help:"The configuration: sojournd config example prints one to start from."`
	Set    map[string]string `placeholder:"SETTING=VALUE" mapsep:"none" help:"Override a setting of the file, as in --set limits.body=2MiB; lists are separated by commas. Environment variables do it too: SOJOURN_LIMITS_BODY. May be repeated."`

	Store             string `placeholder:"URL" help:"Where the sessions live, instead of what the file says: sqlite:/path/to/file, sqlite: alone for ${place}, memory:, redis://user@host:6379/0, redis-cluster://host:6379,host:6379 or postgres://user@host/database."`
	StorePasswordFile string `placeholder:"FILE" type:"path" help:"A file with the database's password and nothing else. It may also be in the environment: ${password_variable}."`
	StoreCA           string `name:"store-ca" placeholder:"FILE" type:"path" help:"Certificates (PEM) that vouch for the database's, instead of the system's."`
	StoreFeed         string `placeholder:"URL" help:"PostgreSQL itself, where --store leads to PgBouncer."`
	APIListen         string `name:"api-listen" placeholder:"ADDRESS" help:"Where the API listens: host:port or unix:/path, several separated by commas."`
	InternalListen    string `placeholder:"ADDRESS" help:"Where /check, /metrics, /healthz and /readyz are."`
	LogLevel          string `placeholder:"LEVEL" help:"debug, info, warn or error."`
	LogFormat         string `placeholder:"FORMAT" help:"text or json."`
}

// Validate is called by the parser.
func (f *configFlag) Validate() error {
	for flag, url := range map[string]string{"--store": f.Store, "--store-feed": f.StoreFeed, "--set store": f.Set["store"], "--set store_feed": f.Set["store_feed"]} {
		if err := app.CheckVisible(flag, url); err != nil {
			return err
		}
	}
	return nil
}

func (f *configFlag) options(out output) app.ServeOptions {
	flags := map[string]string{}
	for path, value := range f.Set {
		flags[path] = value
	}
	for path, value := range map[string]string{
		"store": f.Store, "store_password_file": f.StorePasswordFile, "store_ca": f.StoreCA, "store_feed": f.StoreFeed,
		"api.listen": f.APIListen, "internal.listen": f.InternalListen, "log.level": f.LogLevel, "log.format": f.LogFormat,
	} {
		if value != "" {
			flags[path] = value
		}
	}
	return app.ServeOptions{Config: f.Config, Environ: os.Environ(), Flags: flags, Out: out.stdout, Log: out.stderr, Version: version()}
}

// version is that of the module, where it was built as one.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "dev"
}

type serve struct{ configFlag }

func (s *serve) Run(ctx context.Context, out output) error {
	o := s.options(out)
	reload := make(chan os.Signal, 1) // of several that come at once the last counts
	signal.Notify(reload, syscall.SIGHUP)
	defer signal.Stop(reload)
	o.Reload = reload
	return app.RunServe(ctx, o)
}

type configCommand struct {
	Check   configCheck   `cmd:"" help:"Report every mistake in the configuration, with its place and what to write instead."`
	Example configExample `cmd:"" help:"Print a configuration with every setting, its default, and what it is for."`
}

type configCheck struct{ configFlag }

func (c *configCheck) Run(out output) error { return app.CheckConfig(c.options(out)) }

type configExample struct{}

func (*configExample) Run(out output) error {
	_, err := fmt.Fprint(out.stdout, app.ExampleConfig())
	return err
}

type keysCommand struct {
	New keysNew `cmd:"" help:"Make an API key, and print it with its hash for the configuration."`
}

type keysNew struct {
	JSON bool `help:"Print JSON."`
}

func (k *keysNew) Run(out output) error { return app.NewKey(out.stdout, k.JSON) }
