# Needs the virtual environment that `make dev` makes; everything else runs from it.
PYTHON = .venv/bin/python

dev:
	python3 -m venv --without-pip .venv
	python3 -m pip --python $(PYTHON) install -c constraints.txt -e '.[dev]'

lint:
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy

test:
	$(PYTHON) -m pytest -n 2 --dist loadfile --no-loadscope-reorder

docs:
	$(PYTHON) docs/generate.py

bench:
	$(PYTHON) benchmarks/encoder.py
	$(PYTHON) benchmarks/schemes.py
	$(PYTHON) benchmarks/pruning.py
	$(PYTHON) benchmarks/palettes.py

.PHONY: dev lint test docs bench
