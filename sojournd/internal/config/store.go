package config

import (
	"fmt"
	"reflect"
	"strings"
)

// A Store says where the sessions are stored. Its fields are settings of the
// file, flags of each command that opens a store, and variables.
type Store struct {
	URL          string `yaml:"store" name:"store" placeholder:"URL" help:"Where to store the sessions. Default sqlite:, which is the file ${place}. ${store_urls} Also in $$SOJOURN_STORE."`
	PasswordFile string `yaml:"store_password_file" name:"store-password-file" placeholder:"FILE" type:"path" help:"A file that holds only the database's password. The password may also be in $$SOJOURN_STORE_PASSWORD."`
	CAFile       string `yaml:"store_ca" name:"store-ca" placeholder:"FILE" type:"path" help:"Certificate authorities (PEM) to trust for the database, instead of the system's."`
	Feed         string `yaml:"store_feed" name:"store-feed" placeholder:"URL" help:"The URL of PostgreSQL itself, if --store leads to PgBouncer. Sojourn listens for changes there."`
}

const defaultStore = "sqlite:"

// StoreURLs describes the URLs for the help.
const StoreURLs = "For one process: sqlite:/path/to/file, or memory: to lose all sessions at its end. For several: redis://user@host:6379/0, " +
	"redis-cluster://host:6379,host:6379, redis-sentinel://host:26379,host:26379?master_set=name, unix:///run/redis/redis.sock or postgres://user@host/database. " +
	"TLS: rediss://, rediss-cluster://, rediss-sentinel:// or ?sslmode=verify-full. Several stores in one database: ?prefix= or ?schema=."

// StorePasswordVariable holds the password of a database.
const StorePasswordVariable = "SOJOURN_STORE_PASSWORD"

// WithEnvironment returns the options with what is not set taken from the
// environment, or from the defaults.
func (s Store) WithEnvironment(getenv func(string) string) Store {
	v := reflect.ValueOf(&s).Elem()
	for i := range v.NumField() {
		if v.Field(i).String() == "" {
			v.Field(i).SetString(getenv(setting{path: v.Type().Field(i).Tag.Get("yaml")}.variable()))
		}
	}
	set(&s.URL, defaultStore)
	return s
}

// Validate refuses passwords on the command line. The parser calls it.
func (s Store) Validate() error {
	if err := CheckVisible("--store", s.URL); err != nil {
		return err
	}
	return CheckVisible("--store-feed", s.Feed)
}

// CheckVisible refuses a store's URL that holds a password, for use on a
// command line, which every user of the machine can read with ps. A password
// may contain characters that should have been escaped, so CheckVisible takes
// everything with a colon before the last @ for a password.
func CheckVisible(flag, url string) error {
	_, rest, server := strings.Cut(url, "://")
	at := strings.LastIndexByte(rest, '@')
	beforeHost := server && at >= 0 && strings.Contains(rest[:at], ":")
	if !beforeHost && !strings.Contains(strings.ToLower(url), "password=") {
		return nil
	}
	return fmt.Errorf("%s: a password on the command line shows in ps: leave it out of the URL, and put it into a file for --store-password-file or into $%s; or put the whole URL into $SOJOURN_STORE (write an @ that ends no password as %%40)",
		flag, StorePasswordVariable)
}
