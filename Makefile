# Each target makes a bare machine ready by itself; see README.md.

.PHONY: demo test soak check unit bench-solver bench-rebuild bench-scheduling bench-slurm clean

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

# Beside Debian's own checkers: wants apt-get install dose-builddebcheck dose-distcheck
bench-solver:
	@ci/setup --dev
	.venv/bin/python -m tests.bench.solver --write docs/solver.md

# Beside mock where one is in the PATH; builds the layer first where it is not built.
bench-rebuild:
	@ci/setup --dev
	.venv/bin/python -m tests.bench.rebuild --write docs/caching.md

# The order on Debian's build-dependency graph, replayed with a clock that is made up.
bench-scheduling:
	@ci/setup --dev
	.venv/bin/python -m tests.bench.scheduling --write docs/scheduling.md

# Slurm against this machine's own engine, on a small cluster that it starts itself.
bench-slurm:
	@ci/setup --dev
	.venv/bin/python -m tests.bench.slurm --write docs/slurm.md

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
