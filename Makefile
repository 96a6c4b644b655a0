# Everything runs from .venv. uv makes it, and Java and Node come as Python packages. Python is only needed to install uv.
PYTHON ?= $(shell command -v python3.11 || command -v python3 || echo python3)
UV := .cache/uv/bin/uv
INSTALL := $(UV) pip install --quiet --python .venv/bin/python
INSTALL_UV := -m pip install -qq --disable-pip-version-check --require-hashes --requirement requirements-uv.lock
RUN := .venv/bin/python -m
PYTEST := $(RUN) pytest --numprocesses=2 --no-loadscope-reorder
LOCK := $(UV) pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-annotate \
	--custom-compile-command 'make lock'
# Required packages that the nodes do not use: LiteRT's tools for converting models, the packages with which rich shows
# source code, and the compiler front end and build tools that TensorFlow requires.
UNUSED_litert := flatbuffers ml-dtypes protobuf tqdm pygments markdown-it-py mdurl
UNUSED_tensorflow := libclang setuptools wheel
.DEFAULT_GOAL := help
.PHONY: help demo test test-all bench bench-peers lint lock clean

help: ## Show this list
	@while read -r target rest; do case "$$target" in [a-z]*:) case "$$rest" in *"## "*) \
		printf '  make %-13s %s\n' "$${target%:}" "$${rest#*## }";; esac;; esac; done < Makefile

demo: .venv/.user ## Draw photos, run the job on them, and print the path of the report
	@.venv/bin/fruits demo

test: .venv/.developer node_modules/.package-lock.json ## Check the code, and run the tests that protect a change
	@.venv/bin/ruff check --quiet
	@.venv/bin/ruff format --check --quiet
	@.venv/bin/mypy
	@$(PYTEST) -m 'not slow' --hypothesis-profile=few --cov --cov-report=

test-all: .venv/.developer node_modules/.package-lock.json ## Run the slow tests, and print the coverage together with make test
	@$(PYTEST) -m 'slow or hypothesis' --hypothesis-profile=many -rs --cov --cov-append

bench: .venv/.developer ## Run the benchmarks, about an hour on two cores, and print a table (BENCH='features pca' selects two)
	@$(RUN) benchmarks $(BENCH)

bench-peers: .venv/.developer .cache/peers/.installed ## Compare with Daft and Ray Data, hours on two cores (PEERS='--images 5000 --where local')
	@$(RUN) benchmarks.peers $(PEERS)

.cache/peers/.installed: benchmarks/peers/requirements.txt $(UV)
	@$(UV) venv --quiet --clear --python .venv/bin/python .cache/peers
	@$(UV) pip install --quiet --python .cache/peers/bin/python --requirement $<
	@touch $@

lint: .venv/.developer ## Check and format the code
	@.venv/bin/ruff check --fix
	@.venv/bin/ruff format
	@.venv/bin/mypy

lock: $(UV) ## Resolve the pinned requirements, and write lock files with hashes
	@$(LOCK) --python-version 3.11 requirements-dev.txt --output-file requirements-dev.lock
	@$(LOCK) --python-version 3.11 requirements.txt --constraint requirements-dev.lock --output-file requirements.lock
	@$(LOCK) --python-version 3.11 --group litert --constraint requirements.lock --output-file requirements-litert.lock \
		$(addprefix --no-emit-package=,$(UNUSED_litert))
	@$(LOCK) --python-version 3.11 --group tensorflow --constraint requirements.lock --output-file requirements-tensorflow.lock \
		$(addprefix --no-emit-package=,$(UNUSED_tensorflow))
	@echo uv | $(LOCK) --no-config --python-version 3.8 - --constraint requirements.txt --output-file requirements-uv.lock

clean: ## Remove everything that the other targets made, including the virtual environment
	@rm -rf .venv .cache demo

$(UV): requirements-uv.lock
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 8))' 2>/dev/null || \
		{ echo '$(PYTHON) is not Python 3.8 or later. Install it, or name it: make PYTHON=python3.12' >&2; exit 2; }
	@if "$(PYTHON)" -m venv .cache/uv >/dev/null 2>&1; then .cache/uv/bin/python $(INSTALL_UV); \
	elif "$(PYTHON)" -m pip --version >/dev/null 2>&1; then "$(PYTHON)" $(INSTALL_UV) --target .cache/uv --upgrade; \
	else echo '$(PYTHON) has neither venv nor pip. Install one of them, such as with: apt install python3-venv' >&2; exit 2; fi
	@touch $@

.venv/.user: requirements.lock pyproject.toml $(UV)
	@echo 'Setting up .venv. This takes about a minute, but only the first time.'
	@UV_PYTHON_INSTALL_DIR=.cache/python $(UV) venv --quiet --clear --python 3.11 .venv || \
		{ echo 'There is no Python 3.11, and uv could not download it. Install Python 3.11, then run make again.' >&2; exit 2; }
	@$(INSTALL) --require-hashes --build-constraint requirements.lock --requirement requirements.lock
	@$(INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

.venv/.developer: requirements-dev.lock .venv/.user
	@echo 'Adding the test tools to .venv.'
	@$(INSTALL) --require-hashes --requirement requirements-dev.lock
	@touch $@

# The cloud targets. npm installs the CDK command that package-lock.json pins; the command runs on the Node of .venv.
.PHONY: synth check-account try-aws
CDK := .venv/bin/node node_modules/aws-cdk/bin/cdk

synth: node_modules/.package-lock.json ## Write the CloudFormation template and the job's bundle to cdk.out
	@$(CDK) synth --quiet --context weights=imagenet,random
	@echo 'The template is cdk.out/fruits-dev.template.json.'

check-account: .venv/.user ## Ask AWS whether a deployment would work; nothing is changed (C='-c stage=prod' for settings)
	@$(RUN) cdk_app.preflight $(C)

try-aws: .venv/.user ## Run once on a deployed stage, check the results, print what it took, remove the photos (C as above)
	@$(RUN) cdk_app.trial $(C)

node_modules/.package-lock.json: package-lock.json .venv/.user
	@PATH="$(CURDIR)/.venv/bin:$$PATH" npm ci --no-audit --no-fund --no-update-notifier --loglevel=error >/dev/null
	@touch $@

# The cloud on this machine: an emulator of AWS on 127.0.0.1, which really runs the steps of EMR.
.PHONY: local-cloud
local-cloud: .venv/.developer node_modules/.package-lock.json ## Start a local AWS with the stack in it, and print what to try
	@$(RUN) tests.cloud
