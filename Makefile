# The few commands that developers repeat; each is one line that also works by itself.
.PHONY: test lint fix requirements

test: lint
	python -m pytest

lint:
	ruff check . && ruff format --check . && mypy

fix:
	ruff check --fix . && ruff format .

MLproject: pipeline/config/groups.py pipeline/flags.py pipeline/mlproject.py
	python -m pipeline.mlproject > MLproject

requirements:
	uv pip compile pyproject.toml --universal --python-version 3.11 --no-annotate --no-header --no-emit-index-url --no-emit-find-links --output-file requirements.txt
