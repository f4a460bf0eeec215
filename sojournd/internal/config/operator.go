package config

import (
	"strings"

	"go.yaml.in/yaml/v4"
)

// OperatorLines returns the lines of a configuration that are about an operator:
// the number of the first one, 1 for the file's first line, and their text. Both
// are zero if no operator has the name. The text is empty if other settings share
// the lines.
func OperatorLines(file []byte, name string) (first int, text string) {
	var root yaml.Node
	if yaml.Unmarshal(file, &root) != nil || len(root.Content) == 0 {
		return 0, ""
	}
	list := valueOf(valueOf(root.Content[0], "console"), "operators")
	if list == nil {
		return 0, ""
	}
	for _, item := range list.Content {
		if is := valueOf(item, "name"); is == nil || is.Value != name {
			continue
		}
		if list.Style&yaml.FlowStyle != 0 {
			return item.Line, ""
		}
		lines := strings.SplitAfter(string(file), "\n")
		return item.Line, strings.Join(lines[item.Line-1:lastLine(item)], "")
	}
	return 0, ""
}

// valueOf returns the value of a mapping's key, or nil.
func valueOf(mapping *yaml.Node, key string) *yaml.Node {
	if mapping == nil || mapping.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == key {
			return mapping.Content[i+1]
		}
	}
	return nil
}

// lastLine returns the line in which the last part of a node begins.
func lastLine(n *yaml.Node) int {
	last := n.Line
	for _, part := range n.Content {
		last = max(last, lastLine(part))
	}
	return last
}
