package app

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"

	"github.com/sojourn-go/sojourn/sojournd/internal/config"
	"github.com/sojourn-go/sojourn/sojournd/internal/password"
)

// A PasswordSource is where a new operator's password comes from. If In is a
// terminal, it is asked for twice and not shown; otherwise it is the first line.
type PasswordSource struct {
	In     *os.File
	Prompt io.Writer
}

// AddOperator hashes a new password, and prints what to put into the
// configuration.
func AddOperator(ctx context.Context, out io.Writer, from PasswordSource, name string, asJSON bool) error {
	if !config.OperatorName.MatchString(name) {
		return UsageError{fmt.Errorf("%q is no name: use 1 to 64 letters, digits, '.', '_', '-', '@' and '+', beginning with a letter or digit", name)}
	}
	chosen, err := from.read(ctx, name)
	if err != nil {
		return err
	}
	if n := utf8.RuneCountInString(chosen); n < minOperatorPassword || n > password.MaxLength {
		return fmt.Errorf("the password has %d characters: use %d to %d", n, minOperatorPassword, password.MaxLength)
	}
	hasher, err := password.New(password.Cost{})
	if err != nil {
		return err
	}
	hash, err := hasher.Hash(ctx, password.Caller{}, chosen)
	if err != nil {
		return err
	}
	if asJSON {
		return json.NewEncoder(out).Encode(map[string]string{"name": name, "hash": hash})
	}
	_, err = fmt.Fprintf(out, "Put this into the configuration, and choose the roles: look, or end to end sessions too; \"*\" is every application.\n\n"+
		"console:\n  listen: 127.0.0.1:7083\n  operators:\n    - name: %s\n      hash: %s\n      roles: {\"*\": look}\n\n"+
		"Then run systemctl reload sojournd, or send SIGHUP. A new listener needs a restart.\n"+
		"sojournd operators remove %s says how to undo it.\n", name, hash, name)
	return err
}

// minOperatorPassword follows NIST SP 800-63B-4, section 3.1.1.2, for a password
// that is the only factor.
const minOperatorPassword = 15

// read returns the password, or an error if the context ends first. A read from a
// terminal or a pipe can't be stopped: it ends with the process.
func (p PasswordSource) read(ctx context.Context, name string) (string, error) {
	fd := int(p.In.Fd())
	visible, noTerminal := term.GetState(fd)
	done := make(chan struct{})
	var entered string
	var wrong error
	go func() {
		defer close(done)
		entered, wrong = p.ask(name)
	}()
	select {
	case <-done:
		return entered, wrong
	case <-ctx.Done():
	}
	if noTerminal == nil { // else the shell would not show what is typed
		_ = term.Restore(fd, visible)
		_, _ = fmt.Fprintln(p.Prompt)
	}
	return "", errors.New("interrupted: no account was made")
}

func (p PasswordSource) ask(name string) (string, error) {
	if !term.IsTerminal(int(p.In.Fd())) {
		line, err := bufio.NewReader(io.LimitReader(p.In, 4096)).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return "", fmt.Errorf("read the password: %w", err)
		}
		return strings.TrimRight(line, "\r\n"), nil
	}
	ask := func(what string) (string, error) {
		_, _ = fmt.Fprintf(p.Prompt, "%s: ", what)
		b, err := term.ReadPassword(int(p.In.Fd()))
		_, _ = fmt.Fprintln(p.Prompt)
		return string(b), err
	}
	first, err := ask(fmt.Sprintf("A password of %d characters or more for %s", minOperatorPassword, name))
	if err != nil {
		return "", err
	}
	again, err := ask("Again")
	if err == nil && again != first {
		err = errors.New("the two passwords differ")
	}
	return first, err
}

// RemoveOperator prints what to take out of the configuration.
func RemoveOperator(o ServeOptions, name string) error {
	if _, err := load(o); err != nil {
		return err
	}
	file, err := os.ReadFile(o.Config)
	if err != nil {
		return fmt.Errorf("read the configuration: %w", err)
	}
	line, text := config.OperatorLines(file, name)
	switch {
	case line == 0:
		return fmt.Errorf("%s has no operator %q: sojournd operators list prints those that there are", o.Config, name)
	case text == "":
		_, err = fmt.Fprintf(o.Out, "Take the operator %s out of %s, in line %d.\n\n", name, o.Config, line)
	default:
		_, err = fmt.Fprintf(o.Out, "Take this out of %s, from line %d on:\n\n%s\n\n", o.Config, line, strings.TrimRight(text, "\n"))
	}
	if err == nil {
		_, err = fmt.Fprintf(o.Out, "Then run systemctl reload sojournd, or send SIGHUP: %s is signed out with the next request.\n", name)
	}
	return err
}

// ListOperators prints the operators of the configuration, with their roles.
func ListOperators(o ServeOptions, asJSON bool) error {
	c, err := load(o)
	if err != nil {
		return err
	}
	type operator struct {
		Name  string            `json:"name"`
		Roles map[string]string `json:"roles"`
	}
	list := []operator{}
	for _, one := range c.Console.Operators {
		is := operator{one.Name, map[string]string{}}
		for app, role := range one.Roles {
			is.Roles[app] = string(role)
		}
		list = append(list, is)
	}
	if asJSON {
		return json.NewEncoder(o.Out).Encode(list)
	}
	if len(list) == 0 {
		_, err := fmt.Fprintln(o.Out, "There are no operators: sojournd operators add NAME makes one.")
		return err
	}
	for _, one := range list {
		roles, _ := json.Marshal(one.Roles) // sorted, and looks as in the file
		if _, err := fmt.Fprintf(o.Out, "%-20s %s\n", one.Name, roles); err != nil {
			return err
		}
	}
	return nil
}
