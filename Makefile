# Two commands do everything on a fresh machine with Python 3.11 or later:
#   make quickstart   trains four objectives together on the shipped corpus and shows what came of it
#   make test         runs the tests
PYTHON ?= python3
BIN := .venv/bin
RUN := runs/quickstart
LM := $(BIN)/lm-objectives
# On all cores, up to four, since a process of tests takes about 1.5 GB; the tests of a file stay in their order.
PYTEST := $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

.PHONY: quickstart test test-slow lint clean

# Made anew when the list of dependencies changes. `torch` first, so that pip settles on one build for all.
.venv/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "expected Python 3.11 or later, found $$($(PYTHON) --version): set PYTHON=python3.12, say" >&2; exit 2; }
	@echo "making .venv: a few minutes the first time"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check "torch>=2.11,<2.14"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev]"
	@touch $@

quickstart: .venv/installed
	$(LM) fit --config configs/quickstart.yaml $(ARGS)
	$(LM) validate --config $(RUN)/config.yaml --ckpt_path $(RUN)/checkpoints/last.ckpt
	$(LM) demo --ckpt_path $(RUN)/checkpoints/last.ckpt
	@echo
	@echo "curves: $(RUN)/curves.png"
	@echo "to try next:"
	@echo "  $(LM) fit --config configs/quickstart.yaml --config configs/balancers/gradnorm.yaml --trainer.default_root_dir runs/gradnorm"
	@echo "  $(LM) fit --config configs/quickstart.yaml --data.corpus my_texts/ --trainer.default_root_dir runs/mine"
	@echo "  $(LM) export --ckpt_path $(RUN)/checkpoints/last.ckpt --output runs/quickstart_hf"

test: .venv/installed
	$(PYTEST) -m "not slow" $(ARGS)

# Many runs and processes: all balancers in all arrangements, the notebook, two processes from the command line.
test-slow: .venv/installed
	$(PYTEST) -m slow $(ARGS)

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf .venv build *.egg-info
