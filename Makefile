# The only door: everything that is done to the project is a target here. `make help` lists them.

SHELL       := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS   += --no-builtin-rules
.DELETE_ON_ERROR:
.DEFAULT_GOAL := build

PREFIX  ?= /usr/local
DESTDIR ?=
VERSION ?= $(or $(shell git describe --tags --always --dirty 2>/dev/null),unreleased)
# How long `make fuzz` runs each target.
FUZZTIME ?= 30s
# The kernel features that this lane must have. A test that needs one of them fails where it is missing; a test that
# needs any other is skipped, saying so.
LANHOOK_TEST_HAVE ?= macvlan,bridge,veth,vxlan,nft,bridge-nf

# A checkout without commits or without git has no revision to write into the binary.
BUILDVCS := $(if $(shell git rev-parse --verify --quiet HEAD 2>/dev/null),auto,false)
# What has no share in the time that a hook takes is not inlined: the hook is loaded for every container that starts and
# stops, and so it is 3 % smaller. To do the same to the whole of Go makes it slower.
LEAN     := github.com/... go.etcd.io/... golang.org/... encoding/... log/... unicode/... fmt reflect strings time
# Functions begin at multiples of 16 bytes, not of 32: what lies between them is another 1 % of the program, and to start it
# takes as long.
GO_BUILD := CGO_ENABLED=0 go build -trimpath -buildvcs=$(BUILDVCS) $(LEAN:%=-gcflags=%=-l) \
	-ldflags '-s -w -funcalign=16 -X main.version=$(VERSION)'
# Tests find races (the race detector needs cgo, and thus gcc) and do not lean on their order.
GO_TEST  := CGO_ENABLED=1 go test -json -race -shuffle=on
TOOLS    := bin/tools/golangci-lint bin/tools/shfmt bin/tools/testsum
SCRIPTS  := .ci/run .ci/deps .ci/fuzz .ci/engines $(wildcard tests/demo/run tests/bench/run tests/scenarios/bundle tests/*/*.sh)
PROGRAMS := lanhook lanhook-runtime containerd-shim-lanhook-v2
MANPAGES := $(wildcard packaging/man/*.[0-9])

# What the targets below need on Debian beside Go, and what `make bench` compares with.
PACKAGES := gcc libc6-dev git runc crun podman conmon busybox-static iproute2 nftables iputils-ping procps shellcheck \
	mandoc netavark containernetworking-plugins iptables libdevmapper1.02.1 patchelf qemu-system-x86 seabios kmod xz-utils \
	zstd

# Packages by lane, asked for when a target needs them. Everything beside the code and in these folders of tests/ runs
# without root; the others below tests/ need it. ./tests itself is the target imports.
UNIT = $(shell go list -buildvcs=false ./... | grep -v -E '/tests(/|$$)') ./tests/testsum ./tests/bench ./tests/vm ./tests/vm/image
ROOT = $(shell go list -buildvcs=false ./tests/... | grep -v -E '/tests(/(testsum|e2e|bench|demo|scenarios|vm|vm/.*))?$$')

.PHONY: help build install uninstall deps check vet unit imports lint format-check check-root check-e2e test fuzz \
	bench bench-vm demo engines check-engines vm vm-shell test-vm fmt fix generate clean FORCE

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z][a-z0-9-]*:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo '  PREFIX=$(PREFIX)  DESTDIR=$(DESTDIR)  VERSION=$(VERSION)  FUZZTIME=$(FUZZTIME)'

# ---- build and install

build: $(addprefix bin/,$(PROGRAMS)) ## build the programs into bin/

# go build knows best what has changed.
bin/lanhook: FORCE
	@$(GO_BUILD) -o $@ ./hook

bin/lanhook-runtime: FORCE
	@$(GO_BUILD) -o $@ ./shim/runtime

bin/containerd-shim-lanhook-v2: FORCE
	@$(GO_BUILD) -o $@ ./shim/containerd

install: build ## install below DESTDIR and PREFIX; a policy that is there is kept
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib/systemd/system $(DESTDIR)$(PREFIX)/lib/tmpfiles.d \
		$(DESTDIR)$(PREFIX)/lib/lanhook/bin $(DESTDIR)$(PREFIX)/share/man/man8 $(DESTDIR)/etc/lanhook
	install -m 0644 $(MANPAGES) $(DESTDIR)$(PREFIX)/share/man/man8
	install -m 0755 $(addprefix bin/,$(PROGRAMS)) $(DESTDIR)$(PREFIX)/bin
	ln -sfn ../../../bin/lanhook-runtime $(DESTDIR)$(PREFIX)/lib/lanhook/bin/runc
	install -m 0644 packaging/tmpfiles/lanhook.conf $(DESTDIR)$(PREFIX)/lib/tmpfiles.d/lanhook.conf
	sed 's|@PREFIX@|$(PREFIX)|' packaging/systemd/lanhook-gc.service \
		>$(DESTDIR)$(PREFIX)/lib/systemd/system/lanhook-gc.service
	chmod 0644 $(DESTDIR)$(PREFIX)/lib/systemd/system/lanhook-gc.service
	test -e $(DESTDIR)/etc/lanhook/policy.toml || \
		install -m 0644 packaging/policy.toml $(DESTDIR)/etc/lanhook/policy.toml

uninstall: ## remove what install put there, but for /etc/lanhook
	rm -f $(addprefix $(DESTDIR)$(PREFIX)/bin/,$(PROGRAMS)) $(DESTDIR)$(PREFIX)/lib/lanhook/bin/runc \
		$(DESTDIR)$(PREFIX)/lib/tmpfiles.d/lanhook.conf $(DESTDIR)$(PREFIX)/lib/systemd/system/lanhook-gc.service \
		$(addprefix $(DESTDIR)$(PREFIX)/share/man/man8/,$(notdir $(MANPAGES)))
	[ ! -d $(DESTDIR)$(PREFIX)/lib/lanhook/bin ] || rmdir --ignore-fail-on-non-empty \
		$(DESTDIR)$(PREFIX)/lib/lanhook/bin $(DESTDIR)$(PREFIX)/lib/lanhook

deps: ## install the Debian packages that the other targets need (root, only what is missing)
	@.ci/deps $(PACKAGES)

# ---- engines: containerd and Docker in several versions, for the tests

engines: bin/client ## build the engines of .ci/engines.txt into bin/engines/, and the tests' client
	@.ci/engines

# The client is a module of its own: what it needs is none of the product's.
bin/client: $(wildcard tests/client/*.go) tests/client/go.mod tests/client/go.sum
	@cd tests/client && CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '-s -w' -o ../../$@ .

# ---- the test machine: guests with Debian's kernels, which have what this machine's may lack

# The kernel for vm-shell and test-vm, else the newest, or all; a pattern for the names of the tests of test-vm.
VMKERNEL ?=
RUN      ?=
VM       := bin/vm/run bin/vm/init bin/vm/image bin/vm/lane

bin/vm/run bin/vm/image bin/vm/lane: FORCE
	@go build -buildvcs=false -o $@ ./tests/$(@:bin/%=%)

# The first process of a guest, in which there is no other file.
bin/vm/init: FORCE
	@CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '-s -w' -o $@ ./tests/vm/init

vm: $(VM) ## make the kernels of the test machine in bin/vm/ from Debian's packages, when there are new ones
	@bin/vm/image -init bin/vm/init -into bin/vm

vm-shell: build vm ## a root shell in a guest, with the checkout and the programs of this machine; exit ends it
	@bin/vm/run -tty $(VMKERNEL:%=-kernel %) -- bash

# ---- tests, cheap ones first

test: ## everything that this machine can run: deps build check check-root test-vm check-e2e engines check-engines
	@.ci/run

check: vet unit imports format-check lint ## all that needs no root: vet, unit tests, formats, lint

vet: ## go vet for amd64, arm64 and 386
	@for arch in amd64 arm64 386; do echo "vet: linux/$$arch"; GOOS=linux GOARCH=$$arch CGO_ENABLED=0 go vet ./...; done
	@cd tests/client && go vet ./...

unit: bin/tools/testsum ## unit tests, fuzz seeds included, with the race detector in random order
	@$(GO_TEST) $(UNIT) | bin/tools/testsum unit

imports: bin/tools/testsum ## the table of allowed imports, and that pure packages build on other systems
	@go test -json -count=1 ./tests | bin/tools/testsum imports

format-check: bin/tools/golangci-lint bin/tools/shfmt ## formats of Go files and shell scripts, and go.mod
	@bin/tools/golangci-lint fmt --config .ci/golangci.yml --diff
	@bin/tools/shfmt --diff $(SCRIPTS)
	@go mod verify >/dev/null
	@go mod tidy -diff
	@cd tests/client && go mod verify >/dev/null && go mod tidy -diff

lint: bin/tools/golangci-lint ## golangci-lint, shellcheck, mandoc
	@bin/tools/golangci-lint run --config .ci/golangci.yml ./...
	@cd tests/client && ../../bin/tools/golangci-lint run --config ../../.ci/golangci.yml ./...
	@shellcheck $(SCRIPTS)
	@$(if $(MANPAGES),mandoc -T lint -W warning $(MANPAGES))

# Tests that run side by side wait for the kernel more than they work.
check-root: bin/tools/testsum ## tests on this machine's kernel, in private namespaces (root)
	@[ "$$(id -u)" -eq 0 ] || { echo 'check-root: needs root' >&2; exit 1; }
	@LANHOOK_TEST_HAVE='$(LANHOOK_TEST_HAVE)' $(GO_TEST) -timeout 30m -parallel 4 $(ROOT) | bin/tools/testsum check-root

check-e2e: build bin/tools/testsum ## runc, crun and podman start containers in a private host (root)
	@[ "$$(id -u)" -eq 0 ] || { echo 'check-e2e: needs root' >&2; exit 1; }
	@LANHOOK_TEST_HAVE='$(LANHOOK_TEST_HAVE)' LANHOOK_BIN='$(CURDIR)/bin/lanhook' \
		go test -json -count=1 -timeout 10m -skip '^TestEngine' ./tests/e2e | bin/tools/testsum check-e2e

# The product is installed into a folder that the tests show as /usr/local.
check-engines: build engines bin/tools/testsum ## containerd and Docker in a private host, with lanhook as runtime (root)
	@[ "$$(id -u)" -eq 0 ] || { echo 'check-engines: needs root' >&2; exit 1; }
	@rm -rf bin/installed && $(MAKE) --no-print-directory install DESTDIR='$(CURDIR)/bin/installed' PREFIX=/usr/local >/dev/null
	@LANHOOK_TEST_HAVE='$(LANHOOK_TEST_HAVE)' LANHOOK_BIN='$(CURDIR)/bin/installed/usr/local/bin/lanhook' \
		go test -json -count=1 -timeout 30m -run '^TestEngine' ./tests/e2e | bin/tools/testsum check-engines

# Without the race detector: see tests/vm/lane. Guests have work for a processor all the time; what runs beside them waits more.
test-vm: build vm bin/tools/testsum ## tests in guests, on the oldest and the newest kernel; RUN=TestX VMKERNEL=6.1 (root)
	@[ "$$(id -u)" -eq 0 ] || { echo 'test-vm: needs root' >&2; exit 1; }
	@nice -n 4 bin/vm/lane -run '$(RUN)' -kernel '$(VMKERNEL)' | bin/tools/testsum test-vm

fuzz: ## every fuzz target for FUZZTIME
	@.ci/fuzz $(FUZZTIME)

bench: build ## attach and detach beside a C floor, netavark and the CNI plugins (root)
	@./tests/bench/run

bench-vm: build vm ## attach to ipvlan and VLANs beside ip -batch, in a guest (root)
	@./tests/bench/run -guest

demo: deps build ## a container on a private LAN, and nothing left behind (root)
	@./tests/demo/run

# ---- upkeep

fmt: bin/tools/golangci-lint bin/tools/shfmt ## format Go files and shell scripts
	@bin/tools/golangci-lint fmt --config .ci/golangci.yml
	@bin/tools/shfmt --write $(SCRIPTS)

fix: fmt ## let the linters mend what they can by themselves
	@bin/tools/golangci-lint run --config .ci/golangci.yml --fix ./...

generate: ## write the tables of docs/ from the code; as root, docs/firewall.md too
	@go test -count=1 -run Docs ./policy/... ./shim/config -update
	@[ "$$(id -u)" -ne 0 ] || go test -count=1 -run Docs ./tests/firewall -update

clean: ## remove what was built
	rm -rf bin

# ---- tools, built once: "go tool" would link them anew each time

bin/tools/golangci-lint: .ci/tools.mod .ci/tools.sum
	@echo "building $@ (once)"
	@go build -modfile=.ci/tools.mod -trimpath -ldflags '-s -w' -o $@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint

bin/tools/shfmt: .ci/tools.mod .ci/tools.sum
	@go build -modfile=.ci/tools.mod -trimpath -ldflags '-s -w' -o $@ mvdan.cc/sh/v3/cmd/shfmt

bin/tools/testsum: $(wildcard tests/testsum/*.go)
	@go build -buildvcs=false -o $@ ./tests/testsum
