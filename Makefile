# Each target makes a bare machine ready by itself; see README.md.

.PHONY: demo test soak check unit clean

demo:
	@ci/setup
	@ci/demo

test:
	@ci/setup --dev
	@ci/test

soak:
	@ci/setup --dev
	@ci/test --soak

check:
	@ci/setup --dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

unit:
	@ci/setup --dev
	.venv/bin/pytest -q tests/unit

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
