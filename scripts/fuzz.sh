#!/usr/bin/env bash
# Runs every fuzz target of every module: scripts/fuzz.sh [LIMIT]. The default limit is 20000x (inputs).
# An input that fails is written to the package's testdata/fuzz: commit it as a regression test.
# With a limit in time (60s) a target may fail at the end without an input: go.dev/issue/75804, in Go before 1.27.
set -euo pipefail
limit=${1:-20000x}
out=$(mktemp)
trap 'rm -f "$out"' EXIT

find . -name '*_test.go' -not -path '*/.*' | sort | while read -r file; do
	for target in $(sed -nE 's/^func (Fuzz[A-Za-z0-9_]*)\(.*\*testing\.F\).*/\1/p' "$file"); do
		echo "fuzz $target ($(dirname "$file"), $limit)"
		if ! go test "$(dirname "$file")" -run='^$' -fuzz="^$target\$" -fuzztime="$limit" >"$out" 2>&1 </dev/null; then
			cat "$out"
			exit 1
		fi
	done
done
