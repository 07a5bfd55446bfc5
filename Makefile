# What people run. Everything is built with the one profile and the same selection of packages
# (`--workspace`), so that no third-party crate is compiled twice between `build`, `demo` and `test`.

CARGO    ?= cargo
TARGET   := $(or $(CARGO_TARGET_DIR),target)
CARILLON := $(TARGET)/release/carillon
PLUGINS  := $(patsubst plugins/%/Cargo.toml,%,$(wildcard plugins/*/Cargo.toml))
FLAGS    := --release --locked --workspace

.PHONY: build host plugins languages demo test models bench archive-large faults faults-services faults-tools

build: host plugins

host:
	$(CARGO) build $(FLAGS)

# A component and its manifest become one file; the demo and the configurations look for it here.
# A toolchain that was there before this repository lacks the target, and cargo does not say so.
plugins: host
	rustup target add wasm32-wasip2
	$(CARGO) plugins
	@mkdir -p $(TARGET)/plugins
	@for name in $(PLUGINS); do \
	  $(CARILLON) plugin pack plugins/$$name/plugin.toml \
	    $(TARGET)/wasm32-wasip2/release/plugin_$$name.wasm $(TARGET)/plugins/$$name.wasm || exit 1; \
	done

# The tools of every language that plugins are written in, into target/languages: about half a minute once.
# Tests of a language whose tools are not there say SKIPPED.
languages:
	scripts/languages

demo: build
	$(CARILLON) demo

# The gate, in the order in which it finds faults soonest. RUSTFLAGS stay untouched: changing them
# would compile everything again, so clippy and rustdoc raise warnings to errors by their own means.
test:
	$(CARGO) fmt --all --check
	$(MAKE) --no-print-directory build
	$(CARGO) clippy $(FLAGS) --all-targets -- -D warnings
	$(CARGO) clippy --release --locked --target wasm32-wasip2 -p 'plugin-*' -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc $(FLAGS) --no-deps --document-private-items
	$(CARGO) test $(FLAGS)
	$(MAKE) --no-print-directory models

# The rules of replication, checked with TLC (docs/models/README.md); LARGE=1 for larger sizes.
models:
	docs/models/run

# Every figure of docs/performance.md: with the shipped handlers and without any, each with the floor of its
# own minute, then the parts by themselves. Let nothing else run.
bench: build
	$(CARILLON) bench --floor
	$(CARILLON) bench --floor --empty-chain
	$(CARILLON) bench --conversations --empty-chain
	$(CARGO) build $(FLAGS) --examples
	$(TARGET)/release/examples/chain $(TARGET)/plugins
	@for language in rust js python c go; do \
	  PATH="$$(scripts/languages path):$$PATH" $(CARILLON) plugin build plugins/examples/$$language || true; \
	done
	$(TARGET)/release/examples/languages plugins/examples
	$(TARGET)/release/examples/stopping
	SWAPS=1000 $(CARGO) test $(FLAGS) --test it -- many_swaps --ignored --nocapture
	SWAPS=1000 SWAP_EVERY_MS=250 $(CARGO) test $(FLAGS) --test it -- many_swaps --ignored --nocapture
	scripts/dev-time
	$(TARGET)/release/examples/lookup
	$(TARGET)/release/examples/balance
	$(TARGET)/release/examples/append
	$(TARGET)/release/examples/appends
	$(TARGET)/release/examples/load
	$(TARGET)/release/examples/archive
	$(TARGET)/release/examples/keeping
	$(TARGET)/release/examples/services
	$(TARGET)/release/examples/uploads
	$(TARGET)/release/examples/telephones
	$(TARGET)/release/examples/idle

# Five GiB into the archive and out again while a node is killed: some minutes, and 25 GB of disk.
archive-large: build
	$(CARGO) test $(FLAGS) --test it -- five_gib --ignored --nocapture

# Twenty minutes of real faults on real processes, with every figure of docs/faults.md: a table here, the
# same as JSON in target/release/faults. Let nothing else run. SEED=7 repeats an order of faults;
# FAULTS_SECONDS=300 is a shorter run. What this machine cannot do is told as SKIPPED.
FAULTS_SECONDS ?= 840

faults: build
	FAULTS_SECONDS=$(FAULTS_SECONDS) $(CARGO) test $(FLAGS) --test faults -- \
	  a_cluster_of_processes_survives_a_long_run_of_faults --exact --nocapture

# A thousand faults between processes and an application service, and what the service notices of them: some minutes.
# FAULTS=200 are fewer, SEED=7 is another order.
faults-services: build
	$(CARGO) test $(FLAGS) --test it -- through_a_thousand_faults --ignored --nocapture

# What the faults need beside a Linux with root. Without one of them its faults are skipped, aloud.
FAULTS_TOOLS := strace iptables iproute2 faketime
INSTALL      := DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends

faults-tools:
	scripts/zookeeper install
	dpkg -s $(FAULTS_TOOLS) >/dev/null 2>&1 || $(INSTALL) $(FAULTS_TOOLS) || \
	  { apt-get update && $(INSTALL) $(FAULTS_TOOLS); }
