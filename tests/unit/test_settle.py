"""The key, the release's policy and the rebuild counter."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from farm.errors import SourceError
from farm.ledger import Ledger, coordinator
from farm.model import (
    Built,
    Chroot,
    Demand,
    Evaluation,
    Failed,
    Job,
    Limits,
    Lock,
    LockedPackage,
    Manifest,
    Nevra,
    Package,
    Problem,
    Recipe,
    RecipeFile,
    Result,
    Step,
    WorkOrder,
    from_json,
)
from farm.rebuild.keys import RECIPE_NUMBER, changed_input, restore, srpm_key
from farm.rebuild.macros import macros as farm_macros
from farm.rebuild.scheduler import Keep, Refuse, Run
from farm.rebuild.settle import Inputs, Settler, Stages
from farm.store import Store

CHROOT = Chroot("d-x86_64", "d", "x86_64", (), (), ".d")
STEP = Step("munge", "d-x86_64", needs=("zeta",), direct=("zeta",))
GCC = LockedPackage(Nevra("gcc", 0, "14", "1", "x86_64"), "a" * 64, 1, "base")
ZETA = LockedPackage(Nevra("zeta", 0, "1", "1.d", "x86_64"), "b" * 64, 1, "layer")


def recipe(text: str = "one", *, scratch: bool = False) -> Recipe:
    digest = hashlib.sha256(text.encode()).hexdigest()
    return Recipe(
        "munge", "munge.spec", "/", (RecipeFile("munge.spec", digest),), commit="c", scratch=scratch
    )


class Farm:
    """One state directory, and a world of inputs that the tests change."""

    def __init__(self, ledger: Ledger, state: Path) -> None:
        self.ledger = ledger
        self.state = state
        self.store = Store(state / "store")
        self.lock: Lock | Problem = Lock((GCC, ZETA))
        self.recipe = recipe()
        self.policy = "direct"
        self.published: dict[tuple[str, str], str] = {}
        self.srpms: list[int] = []
        self.source_error = False
        self.misfit = ""
        self.limits = Limits()
        self.tries_again = False
        self.since = 1e12  # whatever failed, failed before this run
        self.cores: dict[str, int] = {}
        self.recovered: dict[str, Job] = {}

    def settler(self) -> Settler:
        evaluation = Evaluation(Nevra("munge", 0, "1", "1.d", "src"), (), ())
        return Settler(
            ledger=self.ledger,
            store=self.store,
            state=self.state,
            roots=self.state / "roots",
            recipes={"munge": self.recipe},
            chroots={CHROOT.name: CHROOT},
            evaluations={
                ("munge", CHROOT.name): evaluation,
                ("munge~bootstrap", CHROOT.name): evaluation,
            },
            setup_locks={CHROOT.name: Lock(())},
            published=self.published,
            stages=Stages(
                lock=lambda *_: self.lock,
                archive=lambda _: None,
                inputs=self.inputs,
                srpm=self.srpm,
                misfit=lambda *_: self.misfit,
            ),
            policy=self.policy,
            builder="embedded",
            cpus=1,
            limits=lambda *_: self.limits,
            tries_again=lambda _: self.tries_again,
            since=self.since,
            cores=self.cores,
            expect=lambda _: Demand(seconds=60.0, memory=1 << 30),
            recovered=self.recovered,
        )

    def inputs(self, _: Recipe) -> Inputs:
        if self.source_error:
            raise SourceError("munge: munge-1.tar.xz is nowhere", why="debian: 404")
        return ()

    def srpm(self, _: Recipe, counter: int, bootstrap: bool = False) -> Package:
        self.srpms.append(counter)
        return self.package("src", f"srpm {counter} {self.recipe.digest}", counter)

    def package(self, arch: str, content: str, counter: int = 0) -> Package:
        release = f"1.d.{counter}" if counter else "1.d"
        sha256 = self.store.put_bytes(content.encode())
        return Package(Nevra("munge", 0, "1", release, arch), sha256, len(content), "munge")

    def settle(self, needs: Mapping[str, Result] | None = None) -> Keep | Run | Refuse:
        zeta = Package(ZETA.nevra, ZETA.sha256, 1, "zeta")
        standing = msgspec.structs.replace(_result(), built=Built((zeta,), zeta, 1.0))
        return self.settler().settle(STEP, needs or {"zeta": standing})

    def run(self) -> Run:
        decision = self.settle()
        assert isinstance(decision, Run), decision
        return self.begun(decision)

    def begun(self, run: Run, step: Step = STEP) -> Run:
        """The attempt starts; one that has begun goes on."""
        if (run.directory / "job.json").exists():
            return run
        return self.settler().begin(step, run, 1)

    def fail(self, failed: Failed) -> Run:
        """An attempt that ends so."""
        run = self.run()
        assert self.settler().finish(STEP, run.job, failed) == failed
        return run

    def finish(self, run: Run, content: str) -> Result | Failed | Run:
        """Pretend that the worker built a package with these bytes."""
        run = self.begun(run)
        results = run.directory / "results"
        results.mkdir()
        package = self.package("x86_64", content, run.job.counter)
        (results / package.nevra.filename).write_text(content)
        srpm = self.srpm(self.recipe, run.job.counter)
        return self.settler().finish(STEP, run.job, Built((package,), srpm, 3.0))

    def build(self, content: str = "bytes") -> Result:
        result = self.finish(self.run(), content)
        assert isinstance(result, Result), result
        return result

    def publish(self, result: Result) -> None:
        for package in result.built.packages:
            self.published[result.step, str(package.nevra)] = package.sha256


def _result() -> Result:
    srpm = Package(Nevra("z", 0, "1", "1", "src"), "s", 1, "z")
    return Result(
        "k", "s", Manifest("r", "l", "c", 1), Lock(()), (), 0, "", Built((), srpm, 1.0), 0.0
    )


@pytest.fixture
def farm(tmp_path: Path) -> Iterator[Farm]:
    with coordinator(tmp_path) as ledger:
        yield Farm(ledger, tmp_path)


def test_what_was_never_built_runs_and_its_job_file_says_all(farm: Farm) -> None:
    run = farm.run()
    assert run.reason == "never built"
    order = from_json(WorkOrder, (run.directory / "job.json").read_bytes())
    assert order.job == run.job


def test_the_same_inputs_are_not_built_twice(farm: Farm) -> None:
    built = farm.build()
    kept = farm.settle()
    assert isinstance(kept, Keep) and kept.result == built


def test_a_lost_file_of_the_store_is_made_again(farm: Farm) -> None:
    built = farm.build()
    farm.store.path(built.built.packages[0].sha256).unlink()
    assert farm.run().reason == "its files are gone"


def test_a_changed_recipe_is_built_again(farm: Farm) -> None:
    farm.build()
    farm.recipe = recipe("two")
    assert farm.run().reason == "its recipe changed: munge.spec"


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        ("broken", ""),
        ("direct", ""),
        ("full", "gcc-14-1.x86_64 became 15-1"),
    ],
)
def test_a_changed_base_package_rebuilds_only_under_full(
    farm: Farm, policy: str, reason: str
) -> None:
    farm.build()
    farm.policy = policy
    farm.lock = Lock(
        (LockedPackage(Nevra("gcc", 0, "15", "1", "x86_64"), "c" * 64, 1, "base"), ZETA)
    )
    decision = farm.settle()
    assert decision.reason == reason if reason else isinstance(decision, Keep)  # type: ignore[union-attr]


@pytest.mark.parametrize("policy", ["broken", "direct", "full"])
def test_what_does_not_fit_any_more_is_built_again_under_every_policy(
    farm: Farm, policy: str
) -> None:
    farm.build()
    farm.policy = policy
    farm.misfit = "munge-1-1.d.x86_64 requires libz.so.1, which nothing provides any more"
    assert isinstance(farm.settle(), Keep), "the same inputs would give the same misfit"
    farm.lock = Lock((ZETA,))
    reason = farm.run().reason
    assert farm.misfit == reason or policy == "full"


def test_a_changed_first_level_package_of_the_layer_rebuilds(farm: Farm) -> None:
    farm.build()
    farm.lock = Lock((GCC, LockedPackage(ZETA.nevra, "d" * 64, 1, "layer")))
    assert farm.run().reason == "zeta-1-1.d.x86_64 has other bytes"


def test_a_package_deeper_in_the_layer_does_not_rebuild_under_direct() -> None:
    deep = LockedPackage(Nevra("deep", 0, "2", "1", "x86_64"), "e" * 64, 1, "layer")
    made = Manifest(recipe().digest, "l", CHROOT.digest, RECIPE_NUMBER)
    standing = msgspec.structs.replace(_result(), manifest=made)
    inputs = (standing, recipe(), CHROOT, Lock((deep,)))
    assert changed_input(*inputs, frozenset({"zeta"}), "direct") == ""
    assert changed_input(*inputs, frozenset({"deep"}), "direct") != ""


def test_the_same_bytes_get_the_new_key_and_keep_the_published_srpm(farm: Farm) -> None:
    first = farm.build("same")
    farm.publish(first)
    farm.recipe = recipe("a changed comment")
    second = farm.build("same")
    assert second.key != first.key
    assert second.counter == 0
    assert second.built.srpm == first.built.srpm


def test_other_bytes_under_a_published_nevra_are_built_again_with_the_next_counter(
    farm: Farm,
) -> None:
    first = farm.build("old")
    farm.publish(first)
    farm.recipe = recipe("two")
    again = farm.finish(farm.run(), "new")
    assert isinstance(again, Run)
    assert again.job.counter == 1 and again.job.dist == ".d.1"
    second = farm.finish(again, "new with .1")
    assert isinstance(second, Result) and second.counter == 1
    assert farm.store.get(first.built.packages[0].sha256).read_text() == "old"
    assert isinstance(farm.settle(), Keep)


def test_other_bytes_that_were_never_published_need_no_counter(farm: Farm) -> None:
    farm.build("old")
    farm.recipe = recipe("two")
    assert farm.build("new").counter == 0


def test_a_counter_that_moved_elsewhere_rebuilds_here(farm: Farm) -> None:
    farm.build()
    farm.ledger.set_counter("d", "munge", "1-1", 2)
    run = farm.run()
    assert run.reason == "the rebuild counter moved to 2"
    assert run.job.counter == 2


def test_a_new_version_release_starts_counting_again(farm: Farm) -> None:
    farm.ledger.set_counter("d", "munge", "0.9-1", 4)
    assert farm.run().job.counter == 0


def test_a_scratch_build_is_kept_but_never_stands(farm: Farm) -> None:
    farm.recipe = recipe("edited", scratch=True)
    built = farm.build()
    assert farm.ledger.standing(STEP.id) is None
    assert farm.ledger.result(built.key) == built


@pytest.mark.parametrize(("policy", "builds"), [("broken", 0), ("direct", 1), ("full", 1)])
def test_a_package_that_left_the_layer_is_other_bytes_for_what_was_built_with_it(
    farm: Farm, policy: str, builds: int
) -> None:
    farm.policy = policy
    farm.build()
    farm.lock = Lock((GCC, msgspec.structs.replace(ZETA, sha256="e" * 64, repository="base")))
    decision = farm.settler().settle(msgspec.structs.replace(STEP, needs=(), direct=()), {})
    assert isinstance(decision, Run) == bool(builds)


def test_a_package_of_the_layer_that_is_only_not_needed_any_more_rebuilds_nothing(
    farm: Farm,
) -> None:
    farm.build()
    zeta = Package(ZETA.nevra, ZETA.sha256, 1, "munge")
    made = msgspec.structs.replace(
        _result(), key="z", step=f"munge@{CHROOT.name}x", built=Built((zeta,), zeta, 1.0)
    )
    farm.ledger.record(made)
    farm.lock = Lock((GCC,))
    assert isinstance(farm.settle(), Keep)


def test_a_dry_run_tells_what_the_base_alone_will_rebuild_whatever_its_needs_become(
    farm: Farm,
) -> None:
    farm.build()
    newer = LockedPackage(Nevra("gcc", 0, "15", "1", "x86_64"), "c" * 64, 1, "base")
    farm.lock = Lock((newer, ZETA))
    needs = {"zeta": _result()}
    assert farm.settler().certain_of_base(STEP, needs) == ""
    farm.policy = "full"
    assert farm.settler().certain_of_base(STEP, needs) == "gcc-14-1.x86_64 became 15-1"
    farm.lock = Lock((GCC, msgspec.structs.replace(ZETA, sha256="d" * 64)))
    assert farm.settler().certain_of_base(STEP, needs) == ""


def test_what_is_built_with_a_scratch_package_is_scratch_itself(farm: Farm) -> None:
    decision = farm.settle({"zeta": msgspec.structs.replace(_result(), scratch=True)})
    assert isinstance(decision, Run)
    assert decision.job.recipe.scratch


def test_a_change_that_is_tried_twice_is_built_once_whatever_was_published(farm: Farm) -> None:
    farm.publish(farm.build("published"))
    farm.recipe = recipe("edited", scratch=True)
    tried = farm.build("other bytes")
    kept = farm.settle()
    assert isinstance(kept, Keep) and kept.result == tried
    farm.recipe = recipe("edited")
    assert farm.run().reason == "its recipe changed: munge.spec", "that name is taken"


def test_trying_the_same_inputs_again_takes_nothing_back_that_stands(farm: Farm) -> None:
    stands = farm.build()
    farm.recipe = recipe(scratch=True)  # or one of its needs is
    decision = replace(farm.settler(), force=frozenset({"munge"})).settle(STEP, {"zeta": _result()})
    assert isinstance(decision, Run)
    assert isinstance(farm.finish(decision, "bytes"), Result)
    assert farm.ledger.standing(STEP.id) == stands


def test_a_scratch_result_counts_once_the_same_recipe_is_committed(farm: Farm) -> None:
    farm.recipe = recipe("edited", scratch=True)
    farm.build()
    farm.recipe = recipe("edited")
    kept = farm.settle()
    assert isinstance(kept, Keep)
    assert not kept.result.scratch
    assert farm.ledger.standing(STEP.id) == kept.result


BOOT = Step("munge", "d-x86_64", (), bootstrap=True)


def build(farm: Farm, step: Step, content: str, needs: Mapping[str, Result]) -> Result:
    run = farm.settler().settle(step, needs)
    assert isinstance(run, Run), run
    run = farm.begun(run, step)
    results = run.directory / "results"
    results.mkdir()
    package = farm.package("x86_64", content, run.job.counter)
    (results / package.nevra.filename).write_text(content)
    srpm = farm.srpm(farm.recipe, run.job.counter, step.bootstrap)
    done = farm.settler().finish(step, run.job, Built((package,), srpm, 3.0))
    assert isinstance(done, Result), done
    return done


def test_a_bootstrap_has_a_chroot_of_its_own_and_stands_for_itself_alone(farm: Farm) -> None:
    built = build(farm, BOOT, "bootstrap", {})
    assert built.bootstrap and built.step == "munge~bootstrap@d-x86_64"
    assert built.manifest.chroot == CHROOT.bootstrapping.digest != CHROOT.digest
    assert farm.ledger.standing(STEP.id) is None
    assert farm.ledger.standings() == ()
    kept = farm.settler().settle(BOOT, {})
    assert isinstance(kept, Keep) and kept.result == built


def test_a_bootstrap_is_built_with_its_condition_and_below_the_packages_nevra(farm: Farm) -> None:
    run = farm.settler().settle(BOOT, {})
    assert isinstance(run, Run)
    assert run.job.dist == ".d~bootstrap"
    assert run.job.chroot.with_options == ("bootstrap",)
    macros = dict(farm_macros(run.job.chroot, run.job.dist, 1))
    assert macros["_with_bootstrap"] == "--with-bootstrap"


def test_the_rebuild_counter_is_not_the_bootstraps_concern(farm: Farm) -> None:
    built = build(farm, BOOT, "bootstrap", {})
    farm.ledger.set_counter("d", "munge", "1-1", 2)
    kept = farm.settler().settle(BOOT, {})
    assert isinstance(kept, Keep) and kept.result == built


def test_a_bootstrap_of_other_bytes_does_not_by_itself_rebuild_its_own_package(farm: Farm) -> None:
    step = Step("munge", "d-x86_64", ("munge~bootstrap",), direct=("munge~bootstrap",))
    first = LockedPackage(Nevra("munge", 0, "1", "1.d~bootstrap", "x86_64"), "1" * 64, 1, "layer")
    farm.lock = Lock((GCC, first))
    own = Package(first.nevra, first.sha256, 1, "munge")
    needs = {"munge~bootstrap": msgspec.structs.replace(_result(), built=Built((own,), own, 1.0))}
    build(farm, step, "final", needs)
    farm.lock = Lock((GCC, msgspec.structs.replace(first, sha256="2" * 64)))
    assert isinstance(farm.settler().settle(step, needs), Keep)
    other = Step("munge", "d-x86_64", ("zeta~bootstrap",), direct=("zeta~bootstrap",))
    renamed = {"zeta~bootstrap": needs["munge~bootstrap"]}
    assert isinstance(farm.settler().settle(other, renamed), Run)


def test_forced_is_the_package_not_its_bootstrap(farm: Farm) -> None:
    build(farm, BOOT, "bootstrap", {})
    settler = replace(farm.settler(), force=frozenset({"munge"}))
    assert isinstance(settler.settle(BOOT, {}), Keep)


def test_what_cannot_be_locked_is_refused_with_the_solvers_facts(farm: Farm) -> None:
    farm.lock = Problem("nothing-provides", "munge", ("nothing provides foo-devel",), "foo-dev?")
    refused = farm.settle()
    assert isinstance(refused, Refuse)
    assert "foo-devel" in refused.failed.message and refused.failed.hint == "foo-dev?"
    farm.lock = Problem("nothing-provides", "munge", ("nothing provides foo-devel",))
    refused = farm.settle()
    assert isinstance(refused, Refuse) and "munge" in refused.failed.hint


def test_a_missing_source_refuses_the_step_and_says_why(farm: Farm) -> None:
    farm.source_error = True
    refused = farm.settle()
    assert isinstance(refused, Refuse)
    assert refused.failed.excerpt == ("debian: 404",)


def test_results_with_other_bytes_than_the_worker_said_are_not_stored(farm: Farm) -> None:
    run = farm.run()
    (run.directory / "results").mkdir()
    package = replace_sha(farm.package("x86_64", "said"))
    (run.directory / "results" / package.nevra.filename).write_text("damaged")
    failed = farm.settler().finish(STEP, run.job, Built((package,), package, 1.0))
    assert isinstance(failed, Failed) and failed.kind == "infrastructure"
    assert farm.ledger.standing(STEP.id) is None


def replace_sha(package: Package) -> Package:
    return msgspec.structs.replace(package, sha256="f" * 64)


def test_a_forced_step_runs_whatever_the_key_says(farm: Farm) -> None:
    farm.build()
    settler = replace(farm.settler(), force=frozenset({"munge"}))
    zeta = {"zeta": _result()}
    assert isinstance(settler.settle(STEP, zeta), Run)


def test_what_was_published_restores_counters_and_source_packages(farm: Farm) -> None:
    first = farm.build("old")
    farm.publish(first)
    farm.recipe = recipe("two")
    again = farm.finish(farm.run(), "new")
    assert isinstance(again, Run)
    second = farm.finish(again, "newer")
    assert isinstance(second, Result)
    with coordinator(farm.state / "elsewhere") as ledger:
        restore(ledger, {CHROOT.name: CHROOT}, [first, second])
        assert ledger.counter("d", "munge", "1-1") == 1
        assert ledger.result(second.key) == second
        for result in (first, second):
            kept = ledger.srpm(srpm_key(result.manifest.recipe, CHROOT, result.counter))
            assert kept is not None
            assert from_json(Package, kept) == result.built.srpm


def test_a_base_that_moves_on_makes_no_second_source_package() -> None:
    moved = msgspec.structs.replace(CHROOT, setup=("gcc-15",), macros=(("x", "y"),))
    assert srpm_key("recipe", CHROOT, 0) == srpm_key("recipe", moved, 0)
    assert srpm_key("recipe", CHROOT, 0) != srpm_key("recipe", CHROOT, 1)
    assert srpm_key("recipe", CHROOT, 0) != srpm_key("other", CHROOT, 0)
