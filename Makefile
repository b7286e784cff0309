# `make up` runs Annals, `make test` proves it; both make .venv from the lock file first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEV_STAMP := $(VENV)/.installed-for-tests
FITS := import sys; sys.version_info >= (3, 11) or sys.exit(1)
UV_VERSION := 0.13.9
ARGS ?=

.PHONY: setup up demo test check platform-images compose-test faults fuzz soak overload neighbours audit sbom bench lock images docs

# Everything that tests, checks and measurements need, too.
setup: $(DEV_STAMP)

$(STAMP): requirements.lock pyproject.toml
	@$(BIN)/python -c '$(FITS); import pip' 2>/dev/null || { \
		$(PYTHON) -c '$(FITS)' || { echo "Annals needs Python 3.11 or newer: make up PYTHON=python3.12" >&2; exit 1; }; \
		echo "Set-up, 1 of 3: a virtual environment in $(VENV) (once, some seconds)" >&2; \
		$(PYTHON) -m venv --clear $(VENV) || { rm -rf $(VENV); exit 1; }; }
	@echo "Set-up, 2 of 3: the installer, uv $(UV_VERSION)" >&2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv==$(UV_VERSION)"
	@echo "Set-up, 3 of 3: $$(grep -c '^[a-z].*==' requirements.lock) packages of the lock file (5 to 60 s)" >&2
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps -e .
	@touch $@

$(DEV_STAMP): $(STAMP) requirements-dev.lock
	@echo "Set-up for tests: $$(grep -c '^[a-z].*==' requirements-dev.lock) packages (5 to 60 s)" >&2
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements-dev.lock
	@touch $@

up: $(STAMP)
	@exec $(BIN)/annals up $(ARGS)

demo: $(STAMP)
	@exec $(BIN)/annals demo $(ARGS)

images: $(STAMP)
	@$(BIN)/annals images build $(ARGS)

# The images that compose.yaml runs, for an engine without an image registry; needs root and debootstrap.
platform-images: $(STAMP)
	@$(BIN)/annals images platform $(ARGS)

# The stack of compose.yaml on this machine's engine: killed, upgraded under load, taken down and started again.
compose-test: setup platform-images
	@$(BIN)/python -m pytest tests/compose $(ARGS)

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Known holes in dependencies, and risky code; ARGS=--require fails where no advisory service answers.
audit: setup
	@$(BIN)/python -m tests.architecture.audit $(ARGS)

# What an installation consists of (CycloneDX), the same bytes for the same lock file.
sbom: setup
	@$(BIN)/python -m tests.architecture.sbom

test: setup
	@$(BIN)/python -m tests $(ARGS)

# Processes, services and disks hurt on purpose; what holds after each is in docs/guarantees.md.
faults: setup
	@$(BIN)/python -m pytest tests/faults tests/load $(ARGS)

# Ten minutes of random input, by the OpenAPI documents and by raw bytes. ARGS="--minutes 60 --seed 7" is longer.
fuzz: setup
	@$(BIN)/python -m tests.fuzz $(ARGS)

# Half an hour of load and random faults: memory, descriptors and rows stay flat. ARGS="--minutes 5" is shorter.
soak: setup
	@$(BIN)/python -m tests.soak $(ARGS)

# Ten times as many callers as can be served, for a minute: what was accepted ends, and it is over soon.
overload: setup
	@$(BIN)/python -m tests.overload $(ARGS)

# A hostile project beside a quiet one; fails if a call of the quiet one fails, or takes more than twice as long as alone.
neighbours: setup
	@$(BIN)/python -m tests.neighbours $(ARGS)

bench: setup
	@$(BIN)/python -m bench $(ARGS)
	@$(BIN)/python -m bench.quote

# Generates the pages that are made from the code, then builds the site in site/; a broken link fails.
docs: setup
	@$(BIN)/annals settings --markdown > docs/settings.md
	@$(BIN)/python -m tests.architecture.reference
	@$(BIN)/python -m tests.architecture.http_api
	@$(BIN)/python -m tests.architecture.errors
	@$(BIN)/python -m tests.architecture.compatibility
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict

# Resolve the newest allowed releases for every supported Python, with hashes; the files name no index.
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url
lock:
	$(LOCK) pyproject.toml -o requirements.lock
	$(LOCK) --group dev -c requirements.lock pyproject.toml -o requirements-dev.lock
