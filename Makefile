# The programs that work on the source, pinned; they are not dependencies of any module.
GOTESTSUM     := go run gotest.tools/gotestsum@v1.13.0
GOLANGCI_LINT := go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
BENCHSTAT     := go run golang.org/x/perf/cmd/benchstat@v0.0.0-20260908200009-22c9c6c9d4da

# The modules of go.work: their directories, and all their packages.
MODULES  = $(shell go list -m -f '{{.Dir}}')
PACKAGES = $(addsuffix /...,$(MODULES))

FUZZ     ?=
ARGS     ?=
ONLY     ?=

.PHONY: help
help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' Makefile

# SOJOURN_REQUIRE_ALL: a test that would skip itself for want of Chromium or the like fails.
.PHONY: test
test: export SOJOURN_REQUIRE_ALL = 1
test: tools vet fuzz ## install what the tests need, then run all tests of all modules with -race
	@mkdir -p out
	@$(GOTESTSUM) --format pkgname --format-hide-empty-pkg --jsonfile out/tests.json -- -race -count=1 -timeout 30m $(PACKAGES)
	@go run ./scripts/skipped out/tests.json
	@[ "$$(go env GOHOSTOS GOHOSTARCH | xargs)" != "linux amd64" ] || GOARCH=386 go test -short ./...

.PHONY: check
check: vet cross ## format, vet for all systems, lint and the short tests: before each commit
	@status=0; for m in $(MODULES); do (cd $$m && $(GOLANGCI_LINT) run) || status=1; done; exit $$status
	@go test -race -short $(PACKAGES)

# Other systems. Nothing is run on them, except the library on linux/386 in
# make test.
CROSS = windows/amd64 windows/arm64 darwin/amd64 darwin/arm64 linux/amd64 linux/arm64

.PHONY: cross
cross: ## build and vet every module for the other systems, and the library for 32 bits
	@for p in $(CROSS); do echo "vet for $$p"; export GOOS=$${p%/*} GOARCH=$${p#*/}; \
		go build $(PACKAGES) && go vet $(PACKAGES) || exit 1; done
	@echo "vet for linux/386"; export GOOS=linux GOARCH=386; go build ./... && go vet ./...
.PHONY: mutants
mutants: ## break each invariant and see its test go red (ONLY="I4 I5" for some)
	@go run ./mutants $(ONLY)

.PHONY: pictures
pictures: export SOJOURN_GALLERY = $(CURDIR)/out/pictures
pictures: ## take pictures of every page into out/pictures, and renew those of the console in docs
	@rm -rf out/pictures
	@go test -count=1 -run 'Gallery|BrowserStory' ./sojournd/internal/shop ./sojournd/internal/console ./sojournd/internal/app
	@for page in figures alerts search session subject; do for theme in light dark; do \
		cp out/pictures/*-$$page-$$theme-1280.webp docs/pictures/console-$$page-$$theme.webp || exit 1; done; done

.PHONY: bench bench-against
bench bench-against: export BENCHSTAT := $(BENCHSTAT)
bench bench-against: export ARGS := $(ARGS)
bench: ## side by side with other libraries (ONLY="requests races" for some parts, ARGS=-test.short for a quick run)
	@scripts/bench.sh $(ONLY)

.PHONY: figures
figures: ## the table of docs/benchmarks.md, from what the last make bench measured
	@awk -f scripts/figures.awk out/bench/*-after.txt

bench-against: ## this tree beside another commit, taking turns (REV=COMMIT, and ONLY, ARGS as above)
	@AGAINST=$(or $(REV),$(error REV=COMMIT is missing)) scripts/bench.sh $(ONLY)

.PHONY: soak
soak: ## the rotation rules against 100,000 simulated browser-days (ARGS=...); crashes and faults of the stores
	SOJOURN_SOAK=1 go test -count=1 -v -run TestSim -timeout 0 $(SOAK) $(ARGS)
	SOJOURN_SOAK=1 go test -count=1 -v -run 'TestI6|TestDurable' -timeout 120m ./drivers/sqlitestore $(ARGS)
	SOJOURN_SOAK=1 go test -count=3 -v -race -timeout 120m ./faults $(ARGS)
SOAK = ./internal/...

.PHONY: fuzz
fuzz: ## every fuzz target, with 20,000 inputs (FUZZ=60s for a minute each)
	@scripts/fuzz.sh $(FUZZ)

.PHONY: release
release: ## build what users install in dist/ (VERSION=v0.1.0, and ONLY="linux/amd64" for some systems)
	@go run ./release build $(or $(VERSION),$(error VERSION=v0.1.0 is missing)) $(ONLY)

# What that commit and the tags are: see CONTRIBUTING.md, "A release".
.PHONY: tags
tags: ## commit and tag the modules of a release, beside the branch (VERSION=v0.1.0)
	@go run ./release tags $(or $(VERSION),$(error VERSION=v0.1.0 is missing))

.PHONY: fmt
fmt: ## format the source
	@gofmt -w .

.PHONY: tools
tools: ## install what the tests need, saying so first
	@scripts/install.sh
	@for m in $(MODULES); do (cd $$m && { [ ! -e go.sum ] || GOWORK=off go mod download; }) || exit 1; done
	@cd sojournd/testdata/goclient && GOWORK=off go mod download
	@go mod download

# Each module is also looked at on its own: what go.work supplies, a go.mod may lack.
.PHONY: vet
vet:
	@files=$$(gofmt -l .); [ -z "$$files" ] || { echo "not formatted (make fmt):"; echo "$$files"; exit 1; }
	@for m in $(MODULES); do (cd $$m && GOWORK=off go vet ./...) || exit 1; done
