# Two commands do everything on a fresh machine with Python 3.11 or later:
#   make quickstart   trains four objectives together on the shipped corpus and shows what came of it
#   make test         runs the tests
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
PYTHON ?= python3
BIN := .venv/bin
RUN := runs/quickstart
LM := $(BIN)/lm-objectives
# On all cores, up to four, since a process of tests takes about 1.5 GB; the tests of a file stay in their order.
PYTEST := $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile
# LOWEST=1 installs every dependency at its lower bound, by uv.
INSTALL := $(if $(LOWEST),uv pip install --python $(BIN)/python --resolution lowest-direct,$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off)
SHOW := awk '/^Collecting/ { print "  " $$2; fflush() }'

.PHONY: quickstart test test-slow lint docs clean

# Made anew when the list of dependencies changes. `torch` first, so that pip settles on one build for all.
.venv/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "expected Python 3.11 or later, found $$($(PYTHON) --version): set PYTHON=python3.12, say" >&2; exit 2; }
	@echo "making .venv with torch, lightning, transformers and what they need: one to five minutes, once"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(INSTALL) "torch>=2.11,<2.14" | $(SHOW)
	@$(INSTALL) --editable ".[dev]" | $(SHOW)
	@touch $@

quickstart: .venv/installed
	@echo "Training four objectives together on 80 State of the Union addresses, then scoring 12 others: 5 to 8 minutes on two cores."
	$(LM) fit --config configs/quickstart.yaml $(ARGS)
	$(LM) validate --config $(RUN)/config.yaml --ckpt_path $(RUN)/checkpoints/last.ckpt
	$(LM) demo --ckpt_path $(RUN)/checkpoints/last.ckpt
	@echo
	@echo "to look at: $(RUN)/curves.png, and docs/getting_started.md for what the table says"
	@echo "to try next:"
	@echo "  $(LM) fit --config configs/quickstart.yaml --config configs/balancers/gradnorm.yaml --trainer.default_root_dir runs/gradnorm"
	@echo "  $(LM) fit --config configs/quickstart.yaml --data.corpus my_texts/ --trainer.default_root_dir runs/mine"
	@echo "  $(LM) export --ckpt_path $(RUN)/checkpoints/last.ckpt --output runs/quickstart_hf"

test: .venv/installed
	$(PYTEST) -m "not slow" $(ARGS)

# Many runs and processes: all balancers in all arrangements, the notebook, two processes from the command line; and the
# public scorers that readings are compared with.
test-slow: .venv/installed
	@$(INSTALL) --editable ".[oracles]" | $(SHOW)
	$(PYTEST) -m slow $(ARGS)

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: .venv/installed
	@$(INSTALL) --editable ".[docs]" | $(SHOW)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

clean:
	rm -rf .venv build site *.egg-info
