# Two commands on a fresh machine: `make demo` talks, `make test` proves. `make train` makes the micro checkpoint anew.
PYTHON ?= $(shell command -v python3.11 || echo python3)
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
TESTS ?= tests

# The browser of the tests; the voices, fonts and sentences that the micro checkpoint is trained and judged with.
SYSTEM_PACKAGES := chromium espeak-ng flite festival festvox-kallpc16k festvox-kdlpc16k festvox-us-slt-hts \
	wordnet-base fonts-dejavu-core fonts-liberation

.PHONY: demo test bench lint train evaluate clean

demo: $(VENV)/.demo
	$(BIN)/python launch_demo.py $(ARGS)

test: $(VENV)/.test system
	$(BIN)/python -m pytest -n 2 $(TESTS) $(ARGS)

bench: $(VENV)/.demo
	$(BIN)/python -m benchmarks.latency $(ARGS)

train: $(VENV)/.test system
	$(BIN)/python -m training $(ARGS)

evaluate: $(VENV)/.test system
	$(BIN)/python -m training.evaluate $(ARGS)

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

$(VENV)/.test: $(VENV)/.demo requirements-dev.txt requirements-train.txt requirements-quantize.txt
	$(BIN)/python -m pip install --quiet -r requirements-dev.txt
	touch $@

# Installs what is missing where it may, else says the exact line to type.
.PHONY: system
system:
	@missing=""; for name in $(SYSTEM_PACKAGES); do \
	  if command -v dpkg-query >/dev/null 2>&1; then \
	    dpkg-query -W -f='$${Status}' $$name 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$name"; \
	  elif ! command -v $$name >/dev/null 2>&1; then \
	    case $$name in chromium|espeak-ng|flite|festival) missing="$$missing $$name";; esac; \
	  fi; \
	done; \
	if [ -n "$$missing" ]; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $$missing >/dev/null; \
	  else \
	    echo "This needs$$missing. Type: sudo apt-get update && sudo apt-get install -y$$missing" >&2; exit 1; \
	  fi; \
	fi

clean:
	rm -rf $(VENV) .data .pytest_cache .ruff_cache
