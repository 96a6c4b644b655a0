# Everything runs from .venv. Only Python 3.11 must be installed: Java and Node come as Python packages.
PYTHON ?= python3.11
PIP := .venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement
RUN := .venv/bin/python -m
PYTEST := $(RUN) pytest --numprocesses=2 --no-loadscope-reorder
LOCK := .cache/uv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-annotate --custom-compile-command 'make lock'
.DEFAULT_GOAL := help
.PHONY: help demo test test-all bench lint lock clean

help: ## Show this list
	@while read -r target rest; do case "$$target" in [a-z]*:) case "$$rest" in *"## "*) \
		printf '  make %-13s %s\n' "$${target%:}" "$${rest#*## }";; esac;; esac; done < Makefile

demo: .venv/.user ## Draw photos, run the job on them, and print the path of the report
	@.venv/bin/fruits demo

test: .venv/.developer node_modules/.package-lock.json ## Check the code, and run the tests that protect a change
	@.venv/bin/ruff check --quiet
	@.venv/bin/ruff format --check --quiet
	@.venv/bin/mypy
	@$(PYTEST) -m 'not slow' $(COVERAGE)

test-all: COVERAGE := --cov --cov-report=
test-all: test ## Run make test, then the slow tests, and print the coverage of both
	@$(PYTEST) -m slow -rs --cov --cov-append

bench: .venv/.developer ## Run the benchmarks, about an hour on two cores, and print a table (BENCH='features pca' selects two)
	@$(RUN) benchmarks $(BENCH)

lint: .venv/.developer ## Check and format the code
	@.venv/bin/ruff check --fix
	@.venv/bin/ruff format
	@.venv/bin/mypy

lock: ## Resolve the pinned requirements, and write lock files with hashes
	@$(PYTHON) -m venv .cache/uv
	@.cache/uv/bin/python -m pip install --quiet uv
	@$(LOCK) requirements-dev.txt --output-file requirements-dev.lock
	@$(LOCK) requirements.txt --constraint requirements-dev.lock --output-file requirements.lock

clean: ## Remove everything that the other targets made, including the virtual environment
	@rm -rf .venv .cache demo

.venv/.user: requirements.lock pyproject.toml
	@echo 'Setting up .venv. This takes a few minutes, but only the first time.'
	@$(PYTHON) -m venv .venv
	@$(PIP) requirements.lock
	@$(RUN) pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

.venv/.developer: requirements-dev.lock .venv/.user
	@echo 'Adding the test tools to .venv.'
	@$(PIP) requirements-dev.lock
	@touch $@

# The cloud targets. npm installs the CDK command that package-lock.json pins; the command runs on the Node of .venv.
.PHONY: synth check-account
CDK := .venv/bin/node node_modules/aws-cdk/bin/cdk

synth: node_modules/.package-lock.json ## Write the CloudFormation template and the job's bundle to cdk.out
	@$(CDK) synth --quiet --context weights=imagenet,random
	@echo 'The template is cdk.out/fruits-dev.template.json.'

check-account: .venv/.user ## Ask AWS whether a deployment would work; nothing is changed (C='-c stage=prod' for settings)
	@$(RUN) cdk_app.preflight $(C)

node_modules/.package-lock.json: package-lock.json .venv/.user
	@PATH="$(CURDIR)/.venv/bin:$$PATH" npm ci --no-audit --no-fund --no-update-notifier --loglevel=error >/dev/null
	@touch $@

# The cloud on this machine: an emulator of AWS on 127.0.0.1, which really runs the steps of EMR.
.PHONY: local-cloud
local-cloud: .venv/.developer node_modules/.package-lock.json ## Start a local AWS with the stack in it, and print what to try
	@$(RUN) tests.cloud
