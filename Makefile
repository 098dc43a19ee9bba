# Everything to be done with this repository; `make` alone explains.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help build init demo test cluster cluster-down bench bench-cluster bench-lookup lint image image-test crds reference manifests packages clean

release := target/release
version := $(shell sed -n 's/^version = "\(.*\)"$$/\1/p' Cargo.toml | head -1)
# What `make image` calls what it builds.
IMAGE ?= ashore:$(version)

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: init ## the webhook and command line, kubectl's plugin, and the init: target/release/{ashore,kubectl-ashore,ashore-init}
	cargo build --locked --release -p ashore
	install -m 0755 $(release)/ashore $(release)/kubectl-ashore

init: ## the init alone: target/release/ashore-init
	src/init/build
	install -D -m 0755 target/init/ashore-init $(release)/ashore-init

demo: build ## a pod through the webhook, and how its processes stop without and with Ashore; no cluster needed
	cargo run --locked --release -q -p ashore-tests --bin demo

test: packages init ## every test; what needs a program or a right that is missing is skipped and said
	tests/run

cluster: packages init ## a Kubernetes node on this machine, as root, with the image ashore:dev: target/node/kubeconfig
	tests/node/build
	tests/node/up --reuse
	[[ ! -d charts/ashore ]] || target/node/bin/helm --kubeconfig target/node/kubeconfig upgrade --install ashore charts/ashore --namespace ashore-system --create-namespace --wait

cluster-down: ## take that node down, with all that is on it
	tests/node/down

bench: build ## the figures of docs/PERFORMANCE.md, beside tini, tini-static, dumb-init and catatonit
	benches/run

bench-cluster: packages init ## the figures of a cluster, on a Kubernetes node on this machine, as root
	benches/cluster/run

bench-lookup: packages init ## the figures of image lookup, beside a registry on this machine
	benches/lookup/run

lint: ## formatting, clippy, and licences and sources of what we depend on
	cargo fmt --all --check
	cargo clippy --locked --workspace --exclude ashore-init --all-targets -- -D warnings
	cargo clippy --locked -p ashore-init --lib --tests -- -D warnings
	cargo clippy --locked --profile init -p ashore-init --bin ashore-init -- -D warnings
	if command -v cargo-deny >/dev/null; then cargo deny --locked check bans licenses sources; else echo 'cargo-deny is not installed: licences and sources not checked'; fi

image: ## the container image, IMAGE=ashore:VERSION, with whichever of docker, podman and buildah is there
	for tool in docker podman buildah ''; do "$$tool" info >/dev/null 2>&1 && break; done; \
	[[ $$tool ]] || { echo 'no docker, podman or buildah that works: none on the PATH, or its daemon is not running' >&2; exit 1; }; \
	"$$tool" build -t $(IMAGE) $${RUST_IMAGE:+--build-arg RUST_IMAGE=$$RUST_IMAGE} --build-arg VERSION=$(version) \
	  --build-arg REVISION="$$(git rev-parse HEAD 2>/dev/null || true)" --build-arg CREATED="$$(git log -1 --format=%cI 2>/dev/null || true)" .

image-test: ## builds the image with buildah, and checks what is in it; takes minutes
	tests/image/run

crds: ## charts/ashore/templates/crds.yaml anew, from the Rust types
	cargo run --locked -q -p ashore-crd

reference: ## docs/reference.md and docs/causes.md anew: every field, annotation, metric and cause
	BLESS=1 cargo test --locked -q -p ashore --test reference
	BLESS=1 cargo test --locked -q -p ashore-report --test report page

manifests: ## deploy/ashore.yaml anew, from the chart
	deploy/generate

packages: ## the Debian packages that tests use (as root, where there is apt-get)
	tests/packages

clean: ## remove what was built
	cargo clean
