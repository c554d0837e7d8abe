# `make` or `make help` lists what there is. Nothing needs to be installed first but Rust, Python 3.11
# or later and a C compiler: targets make their own virtual environments.

PYTHON ?= python3
VENV ?= .venv
TORCH_VENV ?= .venv-torch
BIN = $(VENV)/bin
TORCH_BIN = $(TORCH_VENV)/bin
CORE_SOURCES = Cargo.toml Cargo.lock pyproject.toml python/core/Cargo.toml $(shell find src python/core -name '*.rs')

.PHONY: help check lab test test-rust test-python test-levels parity notebooks check-notebooks browser pictures \
	kill bench lint deny docs clean

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 14

check: $(VENV)/.tools  ## the fast loop: formatting, lints, unit tests, the Python tests of what changed
	test -f $(VENV)/.core || $(MAKE) $(VENV)/.core
	cargo fmt --all --check
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	cargo clippy --quiet --workspace -- -D warnings
	cargo test --quiet --lib
	$(BIN)/python -m mypy python/bptt
	$(BIN)/python -m pytest -q --testmon

lab: $(VENV)/.core  ## train the lab's four models; table and plots (lab-plots/)
	$(BIN)/python -m bptt lab

test: test-rust test-python  ## all tests but those that need PyTorch

# In the profile of the editable package, so that the kernels are compiled once for both.
test-rust:  ## kernels, contracts and training in Rust
	cargo test --quiet --release

test-python: $(VENV)/.core  ## the package, on NumPy alone
	$(BIN)/python -m pytest -q -n auto
	$(BIN)/python -m mypy python/bptt
	$(BIN)/python -m mypy.stubtest bptt._core --ignore-disjoint-bases

test-levels: $(VENV)/.core  ## the tests again, at the SIMD levels below the machine's own
	best=$$($(BIN)/python -c "import bptt._core; print(bptt._core.simd_level())"); \
	for level in portable avx2; do \
		[ $$level = $$best ] && continue; \
		echo "BPTT_SIMD=$$level"; \
		BPTT_SIMD=$$level cargo test --quiet --release --lib --test rust || exit 1; \
		BPTT_SIMD=$$level $(BIN)/python -m pytest -q -n auto || exit 1; \
	done

parity: $(TORCH_VENV)/.core  ## against the real PyTorch, and trackers of experiments (a large download at first)
	$(TORCH_BIN)/python -m pytest -q -n auto tests/python/parity tests/python/test_documents.py tests/python/training/test_trackers.py
	$(TORCH_BIN)/python -m pytest -q -o addopts= --doctest-modules python/bptt/torch

notebooks: $(TORCH_VENV)/.core  ## run the notebooks of examples/, store their outputs, check the figures in their text
	$(TORCH_BIN)/python tests/notebooks.py

check-notebooks: $(TORCH_VENV)/.core  ## the same, but write nothing
	$(TORCH_BIN)/python tests/notebooks.py --check

pictures: $(VENV)/.core  ## draw the pictures of docs/ again (tests/pictures.py --check only compares)
	$(BIN)/python tests/pictures.py

browser: $(TORCH_VENV)/.core $(TORCH_VENV)/.browser  ## the display of training in JupyterLab and Notebook 7 (needs chromium)
	$(TORCH_BIN)/python tests/browser.py $(NOTEBOOKS)

kill: $(VENV)/.core  ## kill a training process 200 times: its checkpoint must load and training go on (2 minutes)
	$(BIN)/python tests/kill.py

bench: $(TORCH_VENV)/.core $(TORCH_VENV)/.peers  ## beside PyTorch and others, limits, shares of the peak (half an hour)
	$(TORCH_BIN)/pip install --quiet .  # the wheel; the next `make parity` installs the sources again
	rm $(TORCH_VENV)/.core
	$(TORCH_BIN)/python benches/compare.py --json target/compare.json --figure target/compare.png
	$(TORCH_BIN)/python benches/lab.py
	$(TORCH_BIN)/python benches/ragged.py
	$(TORCH_BIN)/python benches/machine.py
	$(TORCH_BIN)/python benches/notebooks.py
	$(TORCH_BIN)/python benches/memory.py
	cargo bench --bench peak_share
	cargo bench --bench kernels

lint: $(VENV)/.tools  ## formatting and lints, Rust and Python
	cargo fmt --all --check
	cargo clippy --quiet --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --quiet --no-deps --package bptt
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

deny:  ## licences, sources and known faults of the crates that we depend on (deny.toml)
	cargo deny --version || cargo install --locked cargo-deny
	cargo deny check

docs:  ## the Rust documentation (target/doc)
	cargo doc --no-deps

clean:  ## remove what builds and environments left
	rm -rf target $(VENV) $(TORCH_VENV) lab-plots python/bptt/*.so

# The environments. A stamp file stands for "up to date".

$(VENV)/.made:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	touch $@

$(VENV)/.tools: $(VENV)/.made pyproject.toml
	$(BIN)/pip install --quiet "ruff>=0.9" "pytest-testmon>=2.1"
	touch $@

$(VENV)/.core: $(VENV)/.made $(CORE_SOURCES)
	$(BIN)/pip install --quiet --editable ".[test]"
	touch $@

$(TORCH_VENV)/.made:
	$(PYTHON) -m venv $(TORCH_VENV)
	$(TORCH_BIN)/pip install --quiet --upgrade pip
	$(TORCH_BIN)/pip install --quiet "torch~=2.15.0"
	touch $@

$(TORCH_VENV)/.core: $(TORCH_VENV)/.made $(CORE_SOURCES)
	$(TORCH_BIN)/pip install --quiet --editable ".[test,notebook,onnx,track]"
	touch $@

$(TORCH_VENV)/.browser: $(TORCH_VENV)/.made
	$(TORCH_BIN)/pip install --quiet "jupyterlab>=4.4" "notebook>=7.4" "nbconvert>=7.16" "playwright>=1.50"
	touch $@

$(TORCH_VENV)/.peers: $(TORCH_VENV)/.made
	$(TORCH_BIN)/pip install --quiet "onnx~=1.23" "onnxruntime~=1.32.0" "jax~=0.10.0" "threadpoolctl>=3"
	touch $@
