# Two commands matter: `make demo` shows the system at work, `make test` proves it. Both set up what they need.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/python -m uv pip install --quiet --python $(BIN)/python --constraint constraints.txt

.PHONY: help demo test soak fuzz simulate lint serve bench format constraints clean

help:
	@echo "make demo   run the main job by itself, on SQLite"
	@echo "make test   lint, types, layers and all tests, on SQLite and on a real PostgreSQL"
	@echo "make soak   kill servers for an hour or so; make soak ROUNDS=10 SEED=7 for less, or again"
	@echo "make fuzz   the tests that make their inputs up, for long and with others each time"
	@echo "make simulate SEEDS=10000   servers, clients and faults under many seeds, in virtual time"
	@echo "make serve  start the service on http://127.0.0.1:8000"
	@echo "make bench  measure, print a table, write bench.json"
	@echo "make lint   lint, formatting, layers and types only"

demo: $(VENV)/runtime.stamp
	$(BIN)/python -m archetype.examples.demo

serve: $(VENV)/runtime.stamp
	$(BIN)/archetype serve --module archetype.examples.movement --module archetype.examples.solar

test: lint
	$(BIN)/pytest -n auto --dist worksteal

soak: $(VENV)/dev.stamp
	PYTHONPATH=tests $(BIN)/python -m survival $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(SEED),--seed $(SEED))

FUZZ_EXAMPLES ?= 500

fuzz: $(VENV)/dev.stamp
	ARCHETYPE_FUZZ_EXAMPLES=$(FUZZ_EXAMPLES) $(BIN)/pytest -n auto --dist worksteal \
		tests/api/test_fuzz.py tests/service/test_hostile_payloads.py tests/service/test_hostile_streams.py

SEEDS ?= 1000

simulate: $(VENV)/dev.stamp
	PYTHONPATH=tests $(BIN)/python -m simulated --seeds $(SEEDS)

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/pyright

format: $(VENV)/dev.stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/dev.stamp
	PYTHONPATH=tests $(BIN)/python -m bench

# Names and versions only: no index, no hash, no host.
constraints: $(VENV)/dev.stamp
	$(BIN)/python -m uv pip compile --quiet --upgrade --universal --no-annotate --no-header --no-emit-index-url \
		--group dev pyproject.toml --output-file constraints.txt

clean:
	rm -rf $(VENV) .build build dist .pytest_cache .ruff_cache .hypothesis

$(VENV)/runtime.stamp: pyproject.toml constraints.txt | $(VENV)/venv.stamp
	$(UV) --editable .
	@touch $@

$(VENV)/dev.stamp: pyproject.toml constraints.txt | $(VENV)/venv.stamp
	$(UV) --group dev --editable .
	@touch $@ $(VENV)/runtime.stamp

# Some systems ship Python without ensurepip; uv makes an environment there too.
$(VENV)/venv.stamp:
	$(PYTHON) -m venv $(VENV) 2>/dev/null \
		|| ($(PYTHON) -m pip install --quiet --target .build/uv uv && PYTHONPATH=.build/uv $(PYTHON) -m uv venv --seed $(VENV))
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@touch $@
