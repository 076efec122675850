# Everything a newcomer needs: `make demo`, `make test`. Both set up what they need, and nothing outside this folder
# but Debian packages that are missing (Chromium, strace), and those only for `make test` as root.
PYTHON ?= python3
VENV := .venv
PACKAGES := strace chromium chromium-driver
BIN := $(VENV)/bin
DONE := $(VENV)/.done

.PHONY: help
help:  # what there is
	@grep -E '^[a-z-]+:.*#' Makefile | sed -E 's/:[^#]*# */\t/' | expand -t 12

$(DONE): pyproject.toml constraints.txt
	@echo "setting up $(VENV) (once, about a minute)"
	@$(PYTHON) -m venv $(VENV) 2>/dev/null || { $(PYTHON) -m pip install --quiet --user --break-system-packages virtualenv 2>/dev/null || $(PYTHON) -m pip install --quiet --user virtualenv; $(PYTHON) -m virtualenv --quiet --clear $(VENV); }
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --upgrade 'pip>=25.1'
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt --group dev -e '.[fast,inspector]'
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --only-binary :all: --upgrade --target $(VENV)/protoc --group protoc || echo "no protoc for this Python: \`make proto\` and its test do without"
	@touch $(DONE)

.PHONY: setup
setup: $(DONE)  # the virtual environment

.PHONY: demo
demo: $(DONE)  # a real program's events arrive at a local receiver, and you watch
	@$(BIN)/python examples/demo.py

.PHONY: lint
lint: $(DONE)  # formatting, types, layers, generated pages
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/basedpyright --level error | tail -1 | grep -q '^0 errors' || { $(BIN)/basedpyright --level error; exit 1; }
	@$(BIN)/lint-imports --no-logo > $(VENV)/imports.txt || { cat $(VENV)/imports.txt; exit 1; }
	@$(BIN)/cog --check $$(git ls-files 'docs/*.md' README.md | xargs grep -l '\[\[\[cog' || echo README.md) > /dev/null

.PHONY: check
check: lint  # the quick inner loop
	@$(BIN)/pytest -q -n 2 -m 'not slow'

.PHONY: proto
proto: $(DONE)  # generate the code of proto/ anew
	@$(BIN)/buf lint proto
	@$(BIN)/python proto/generate.py

.PHONY: docs
docs: $(DONE)  # write the generated parts of the pages anew
	@$(BIN)/cog -r $$(git ls-files 'docs/*.md' README.md | xargs grep -l '\[\[\[cog')

.PHONY: packages
packages:  # Debian packages that some tests need; without them those are skipped
	@missing=$$(for name in $(PACKAGES); do dpkg -s $$name > /dev/null 2>&1 || echo $$name; done); \
	[ -z "$$missing" ] || [ "$$(id -u)" != 0 ] || { apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $$missing; } > /dev/null 2>&1 || echo "not installed: $$missing; what needs it is not tested"

.PHONY: test
test: lint packages  # everything
	@$(BIN)/pytest -q -n 2
	@$(BIN)/python -m build --quiet --wheel --outdir $(VENV)/wheel . > /dev/null

.PHONY: faults
faults: $(DONE)  # the long form of the fault tests
	@USAGEWIRE_FAULTS=long $(BIN)/pytest -q tests/faults --timeout 3600

.PHONY: audit
audit: $(DONE)  # known weaknesses of the dependencies; asks a database on the network, so no part of `make test`
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --upgrade --target $(VENV)/audit pip-audit
	@$(BIN)/python -m pip freeze --all --exclude-editable > $(VENV)/audit.txt
	@PYTHONPATH=$(VENV)/audit $(BIN)/python -m pip_audit --progress-spinner off --strict --no-deps --disable-pip -r $(VENV)/audit.txt

.PHONY: bench
bench: $(DONE)  # costs, beside the peers, in one run
	@test -d $(VENV)/bench || $(BIN)/python -m venv $(VENV)/bench
	@$(VENV)/bench/bin/python -m pip install -qq --disable-pip-version-check 'pip>=25.1'
	@$(VENV)/bench/bin/python -m pip install -qq --disable-pip-version-check --group bench -e '.[fast]'
	@$(VENV)/bench/bin/python -m benchmarks.all
