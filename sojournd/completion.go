package main

import (
	"embed"
	"fmt"
	"strings"

	"github.com/alecthomas/kong"
)

//go:embed completion
var completions embed.FS

type completion struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

func (c *completion) Run(out output) error {
	script, err := completions.ReadFile("completion/" + c.Shell)
	if err != nil {
		return err
	}
	_, err = out.stdout.Write(script)
	return err
}

// complete prints the completions of the last word, one in each line. The shells'
// scripts call it.
type complete struct {
	Words []string `arg:"" optional:""`
}

func (c *complete) Run(parser *kong.Kong, out output) error {
	for _, word := range candidates(parser.Model.Node, c.Words) {
		if _, err := fmt.Fprintln(out.stdout, word); err != nil {
			return err
		}
	}
	return nil
}

// candidates returns the commands and flags that complete the last of the words.
// It returns none where a value or a file is expected, which the shell completes.
func candidates(node *kong.Node, words []string) (found []string) {
	last := ""
	if len(words) > 0 {
		words, last = words[:len(words)-1], words[len(words)-1]
	}
	var value *kong.Flag // the flag whose value the next word is
	for _, word := range words {
		if value != nil {
			value = nil
		} else if flag := flagNamed(node, word); flag != nil {
			if !flag.IsBool() {
				value = flag
			}
		} else if child := childNamed(node, word); child != nil {
			node = child
		}
	}
	offer := func(word string) {
		if strings.HasPrefix(word, last) {
			found = append(found, word)
		}
	}
	switch {
	case value != nil:
	case strings.HasPrefix(last, "-"):
		for _, flags := range node.AllFlags(true) {
			for _, f := range flags {
				offer("--" + f.Name)
			}
		}
	default:
		for _, child := range node.Children {
			if !child.Hidden {
				offer(child.Name)
			}
		}
		for _, argument := range node.Positional {
			for _, choice := range argument.EnumSlice() {
				offer(choice)
			}
		}
	}
	return found
}

// flagNamed returns the flag of a word such as --store. A flag that is written
// with its value, as in --store=memory:, isn't looked for.
func flagNamed(node *kong.Node, word string) *kong.Flag {
	for _, flags := range node.AllFlags(false) {
		for _, f := range flags {
			if word == "--"+f.Name {
				return f
			}
		}
	}
	return nil
}

func childNamed(node *kong.Node, name string) *kong.Node {
	for _, child := range node.Children {
		if child.Name == name {
			return child
		}
	}
	return nil
}
