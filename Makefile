# One word a job. `make repro` and `make test` work on a fresh machine with git and Python 3.11.
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.PHONY: help setup sample repro test test-system check lint bench docs clean

help:     ## what there is
	@sed -n 's/^\([a-z-]*:\)[^#]*## /make \1 /p' Makefile

setup:    ## .venv, with everything at the versions of constraints.txt
	@scripts/setup

sample: setup ## the samples, in data/raw and in DVC's cache
	quadrat sample landuse
	quadrat sample trees

repro: sample ## the whole pipeline: what changed, nothing else
	dvc repro

test: sample ## every check, and the tests but those of many processes
	quadrat sample landsat
	scripts/check
	scripts/test

test-system: sample ## the tests of DVC, git, S3 and the kernel together
	scripts/test-system

check: setup ## format, lint, types, imports, docs
	scripts/check

lint: setup ## fix format and lint
	scripts/lint

bench: setup ## how fast each stage is, beside what the hardware allows (ARGS="--quick")
	PYTHONPATH=src python -m benchmarks $(ARGS)

docs: setup ## the documentation, in site/
	NO_MKDOCS_2_WARNING=1 mkdocs build --strict

clean:    ## remove caches and build products; data, models and .venv stay
	rm -rf .*_cache .hypothesis site build dist src/*.egg-info
	find src tests -name __pycache__ -prune -exec rm -rf {} +
