# `make demo` and `make test` do all their own set-up in .venv, from a fresh clone.

PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-cluster doctests campaign lint docs dist check-dist clean

demo: .venv/ready
	$(BIN)/noisylabels study run digits
	$(BIN)/noisylabels report runs/digits

# mypy takes a minute of one core, so the doctests run beside the linters.
test: .venv/ready
	$(MAKE) --jobs=2 lint doctests
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not cluster" tests

# Ray with nodes that are killed, torchrun, a server of S3's protocol: minutes. What cannot be installed is skipped.
test-cluster: .venv/ready
	-$(BIN)/python -m pip install --quiet --constraint constraints.txt ray
	-$(MAKE) .s3/ready
	$(BIN)/python -m pytest -m cluster tests/study tests/training tests/data

# One thread per process, as in tests/conftest.py.
doctests: .venv/ready
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --doctest-modules --ignore-glob='*/triton_kernels.py' --ignore-glob='*/kernels/gpu.py' src/noisylabels

# Damaged files, kills and faults, see campaign/README.md.
MINUTES ?= 60
SEED ?= 1
campaign: .venv/ready
	$(BIN)/python -m campaign --minutes $(MINUTES) --seed $(SEED) --out build/campaign-$(SEED)

lint: .venv/ready
	$(BIN)/ruff check src tests campaign examples benchmarks docs
	$(BIN)/ruff format --check src tests campaign examples benchmarks docs/*.py
	$(BIN)/mypy

docs: .venv/ready
	$(BIN)/python docs/make_site.py

# The sdist from the working tree, and the wheel from the sdist.
dist:
	$(PYTHON) -m venv build/venv
	build/venv/bin/python -m pip install --quiet build twine
	rm -rf dist
	build/venv/bin/python -m build --outdir dist
	build/venv/bin/python -m twine check --strict dist/*

# For tests/study/test_s3.py, which is skipped without it. The client holds only what .venv lacks.
.s3/ready: tests/s3-requirements.txt
	$(PYTHON) -m venv .s3
	.s3/bin/python -m pip install --quiet --requirement tests/s3-requirements.txt
	.s3/bin/python -m pip list --format freeze | grep -E '^(s3fs|aiobotocore|botocore|jmespath|aioitertools|wrapt)==' > .s3/client.txt
	.s3/bin/python -m pip install --quiet --no-deps --upgrade --target .s3/client --requirement .s3/client.txt
	touch $@

# Installs both into empty environments and tries them there; some minutes, so no part of `make test`.
check-dist: dist
	$(PYTHON) tests/packaging/check_dist.py dist

clean:
	rm -rf .venv .s3 build dist site .mypy_cache .pytest_cache .ruff_cache .hypothesis src/noisylabels/losses/kernels/*.so

# The interpreter is checked first: an old one fails later, and with many lines. Packages are compiled to bytecode on
# all cores; pip does it on one, for a minute. A file that is none of Python's, such as a template, fails and is no error.
.venv/ready: pyproject.toml constraints.txt hatch_build.py src/noisylabels/losses/kernels/native.c
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else "noisylabels needs Python 3.11 or later, and $(PYTHON) is %d.%d; try make PYTHON=python3.12" % v[:2])'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt --editable '.[test]'
	$(BIN)/python -m compileall -qq -j 0 -x '/tests/' .venv/lib || true
	touch $@
