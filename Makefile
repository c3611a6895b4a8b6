# Everything runs in .venv, which is built when pyproject.toml or constraints.txt has changed.
# `make test TORCH=2.11.0` does so with another torch, in an environment of its own.
PYTHON ?= python3
TORCH ?=
VENV := .venv$(if $(TORCH),-torch-$(TORCH))
RUN := $(VENV)/bin
STAMP := $(VENV)/ready-$(shell cat pyproject.toml constraints.txt | cksum | tr ' ' '-')
DOCS := $(subst /ready-,/ready-for-docs-,$(STAMP))

# On a terminal pip shows what it downloads; a log would be full of it.
INSTALL = if test -t 1; then quiet=; else quiet=-q; fi; \
	$(RUN)/pip install $$quiet --disable-pip-version-check -c $(VENV)/constraints.txt -e

# Tests start hundreds of interpreters, of which each would compile the packages anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: audit test test-fast fuzz chaos oracle lint check baselines format docs bench clean

# Set up, then measure: on a CPU in minutes, on a GPU with its default recipe.
audit: $(STAMP)
	@$(RUN)/ffprof run --out audits

# Set up, then test, on two processors.
# Without a GPU the tests that need one are skipped. Files keep their order, in which those of long
# tests come first (tests/conftest.py), and short ones fill up the end.
PYTEST = $(RUN)/pytest -n 2 --dist loadfile --no-loadscope-reorder --durations=10
test: $(STAMP)
	@$(PYTEST)

# Tests of units alone, without those that are marked as slow: training, every row and recipe,
# simulations of noise, and what runs many children.
test-fast: $(STAMP)
	@$(PYTEST) -m 'not slow' tests/unit

# 100,000 damaged result files; `make fuzz SEED=7` makes others.
fuzz: $(STAMP)
	@$(RUN)/python tests/fuzz/fuzz_records.py --seed $(or $(SEED),0)

# 500 commands that are broken while they run; stopped, the same command goes on. `SEED=7` breaks
# them otherwise.
chaos: $(STAMP)
	@$(RUN)/python tests/fuzz/chaos.py --seed $(or $(SEED),0)

# The tracer against PyTorch's own CUDA code on the null device, more than 250 steps, a line a step:
# 4 to 6 minutes on two idle processors. `make oracle STEPS="gpt swin"` compares those alone.
oracle: $(STAMP)
	@$(RUN)/python tests/oracle $(STEPS)

lint: $(STAMP)
	@$(RUN)/ruff format --check .
	@$(RUN)/ruff check .
	@$(RUN)/mypy

# This version of PyTorch's baselines: operators, and with them peaks, are other ones in another.
BASELINES = results/baselines/torch-$(shell $(RUN)/python -c \
	'from importlib.metadata import version; print(version("torch").split("+")[0])')
ESTIMATED = audit-imagenet100-8gb-estimated.json
LIVE = audit-smoke-cpu.json
THRESHOLDS = results/baselines/thresholds.toml

# What changed since the baselines: estimated memory, live tensors, FLOPs and operators, to the
# byte and to the operator, because THRESHOLDS allow nothing. Speed is one round on whatever machine
# this is, so its ratios are printed and not gated.
check: $(STAMP)
	@test -d $(BASELINES) || { echo "there is no $(BASELINES): make baselines makes it"; exit 2; }
	@$(RUN)/ffprof check --baseline $(BASELINES) --thresholds $(THRESHOLDS) \
		--throughput advice $(CHECK)

# Make them anew where a change of theirs is meant, and say in the commit why.
baselines: $(STAMP)
	@mkdir -p $(BASELINES)
	@rm -rf $(BASELINES)/new
	@$(RUN)/ffprof run --device estimate --workloads all --threads 1 --out $(BASELINES)/new
	@mv $(BASELINES)/new/audit-*.json $(BASELINES)/$(ESTIMATED)
	@$(RUN)/ffprof run --preset smoke --device cpu --workloads all --threads 1 --steps 5 \
		--rounds 1 --out $(BASELINES)/new
	@mv $(BASELINES)/new/audit-*.json $(BASELINES)/$(LIVE)
	@rmdir $(BASELINES)/new

format: $(STAMP)
	@$(RUN)/ruff format .
	@$(RUN)/ruff check --fix .

# The pages as HTML, in docs/_build. A link that leads nowhere, or any other warning, is an error.
docs: $(DOCS)
	@$(RUN)/sphinx-build -q -W --keep-going -E -b html docs docs/_build

$(DOCS): $(STAMP)
	@$(INSTALL) '.[docs]'
	@touch $@

# bench_frontier.py needs a recorded frontier.
bench: $(STAMP)
	@for script in $(filter-out %/bench_frontier.py,$(wildcard benchmarks/bench_*.py)) benchmarks/accuracy/roofline.py; do echo "== $$script"; $(RUN)/python $$script || exit 1; done

clean:
	rm -rf .venv .venv-torch-* .mypy_cache .ruff_cache .pytest_cache .hypothesis docs/_build

$(STAMP):
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "ffprof needs Python 3.11 or newer: make PYTHON=python3.11")'
	@echo "setting up $(VENV): a few gigabytes are downloaded once"
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV)
	@grep -v $(if $(TORCH),'^torch','^#') constraints.txt >$(VENV)/constraints.txt
	@$(INSTALL) '.[tests]' $(if $(TORCH),torch==$(TORCH))
	@touch $@
