# The habits of this repository. Only `services` needs root.

# Debian packages that more tests can use; without them those tests are skipped.
SERVICE_PACKAGES := chromium postgresql python3-venv redis-server

SKIPS := $(CURDIR)/target/skipped

# Beside the tools of .ci, where it outlives this clone.
AGENTS := $(or $(XDG_CACHE_HOME),$(or $(HOME),/root)/.cache)/biometric-bridge-tools/agents
PINS := examples/langgraph/requirements.txt

.PHONY: test soak bench services agents fmt lint

# Every test that this machine can run. What it lacks is listed at the end and fails nothing, unless
# BRIDGE_REQUIRE (names, separated by commas) says that this run must not do without it.
test:
	@rm -rf '$(SKIPS)'
	@status=0; \
	BRIDGE_SKIPS='$(SKIPS)' cargo test --workspace --locked || status=$$?; \
	if [ -d '$(SKIPS)' ]; then cat '$(SKIPS)'/* | sort; \
	elif [ $$status -eq 0 ]; then echo 'Nothing was skipped.'; fi; \
	exit $$status

# What takes longer than a test may: every fuzz target for SOAK_SECONDS (60) each, then the tests that are ignored
# for their length and have `soak` in their names.
soak:
	@.ci/soak

# What the bridge takes in, beside two floors, and what it costs (docs/benchmarks.md): floors, embedded,
# production, batches, states, known, fetches, folds, whatif. ONLY=embedded,batches runs a part, BENCH_SECONDS (8) is how
# long each load lasts.
bench:
	@cargo bench --locked --bench bridge

services:
	@if dpkg -s $(SERVICE_PACKAGES) >/dev/null 2>&1; then \
		echo 'Installed already: $(SERVICE_PACKAGES)'; \
	elif [ "$$(id -u)" -ne 0 ]; then \
		echo 'make services installs packages ($(SERVICE_PACKAGES)): run it as root' >&2; exit 1; \
	else \
		apt-get update && \
		DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $(SERVICE_PACKAGES); \
	fi
	@$(MAKE) --no-print-directory agents || echo 'Tests of the agent kit will be skipped: see above' >&2

# The Python environment in which the agent kit is tested, pinned by hash. The tests take it only with a copy of the
# pins in it, which comes last: half an environment is none.
agents:
	@if cmp -s '$(PINS)' '$(AGENTS)/requirements.txt'; then \
		echo 'Installed already: $(AGENTS)'; \
	else \
		rm -rf '$(AGENTS)' && python3 -m venv '$(AGENTS)' && \
		'$(AGENTS)/bin/pip' install --quiet --timeout 20 --retries 2 --require-hashes --only-binary :all: --requirement '$(PINS)' && \
		ln -s python '$(AGENTS)/bin/biometric-agents-python' && \
		cp '$(PINS)' '$(AGENTS)/requirements.txt'; \
	fi

fmt:
	cargo fmt --all
	cargo fmt --manifest-path fuzz/Cargo.toml

lint:
	cargo fmt --all --check
	cargo fmt --manifest-path fuzz/Cargo.toml --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
