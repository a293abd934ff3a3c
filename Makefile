# The few commands that developers repeat; each is one line that also works by itself.
.PHONY: test lint fix requirements

test: lint
	python -m pytest

lint:
	ruff check . && ruff format --check . && mypy && lint-imports

fix:
	ruff check --fix . && ruff format .

MLproject: $(wildcard pipeline/config/*.py pipeline/commands/*.py) pipeline/mlproject.py
	python -m pipeline.mlproject > $@.new && mv $@.new $@

PINS = uv pip compile pyproject.toml --universal --python-version 3.11 --no-annotate --no-header --no-emit-index-url --no-emit-find-links
requirements: # what a model's environment and conda get; and, for pip, the same with every extra
	$(PINS) --output-file requirements.txt
	$(PINS) --all-extras --constraint requirements.txt --output-file constraints.txt
