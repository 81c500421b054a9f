# Two commands on a fresh machine: `make demo` talks, `make test` proves.
PYTHON ?= $(shell command -v python3.11 || echo python3)
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
TESTS ?= tests

# What the browser tests need of the system.
SYSTEM_PACKAGES := chromium

.PHONY: demo test bench lint clean

demo: $(VENV)/.demo
	$(BIN)/python launch_demo.py $(ARGS)

test: $(VENV)/.test system
	$(BIN)/python -m pytest $(TESTS) $(ARGS)

bench: $(VENV)/.demo
	$(BIN)/python -m benchmarks.latency $(ARGS)

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# The old resolver of a new virtual environment's pip backtracks for ages, so pip comes first.
$(VENV)/.pip:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	touch $@

$(VENV)/.demo: $(VENV)/.pip requirements.txt
	$(BIN)/python -m pip install --quiet -r requirements.txt
	touch $@

$(VENV)/.test: $(VENV)/.demo requirements-dev.txt
	$(BIN)/python -m pip install --quiet -r requirements-dev.txt
	touch $@

# Installs what is missing where it may, else says the exact line to type.
.PHONY: system
system:
	@missing=""; for name in $(SYSTEM_PACKAGES); do command -v $$name >/dev/null 2>&1 || missing="$$missing $$name"; done; \
	if [ -n "$$missing" ]; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $$missing >/dev/null; \
	  else \
	    echo "The tests need$$missing. Type: sudo apt-get update && sudo apt-get install -y$$missing" >&2; exit 1; \
	  fi; \
	fi

clean:
	rm -rf $(VENV) .data .pytest_cache .ruff_cache
