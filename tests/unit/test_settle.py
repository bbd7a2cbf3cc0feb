"""The key, the release's policy and the rebuild counter."""

from __future__ import annotations

import errno
import hashlib
import time
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
    Usage,
    WorkOrder,
    from_json,
    to_json,
)
from farm.rebuild.claim import FILE, Claim
from farm.rebuild.diagnosis import diagnose
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
        for package in (GCC, ZETA):
            self.store.path(package.sha256).parent.mkdir(parents=True, exist_ok=True)
            self.store.path(package.sha256).touch()
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
        begun = self.settler().begin(step, run, 1)
        assert isinstance(begun, Run), begun
        return begun

    def fail(self, failed: Failed) -> Run:
        """An attempt that ends so."""
        run = self.run()
        counted = self.settler().finish(STEP, run.job, failed)
        assert isinstance(counted, Failed) and counted.message == failed.message
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


NOT = Failed("package", "munge does not compile (%build)", ("error: no",), phase="%build")
OVER = Failed("limit", "munge hit the limit on memory", limit="memory")
MISHAP = Failed("infrastructure", "the worker ended without a word")


def test_a_failure_under_the_same_inputs_stands_and_says_how_to_try_again(farm: Farm) -> None:
    farm.fail(NOT)
    refused = farm.settle()
    assert isinstance(refused, Refuse)
    today = time.strftime("%Y-%m-%d")
    assert refused.failed.message.startswith(f"failed before with the same inputs, {today}: ")
    assert refused.failed.message.endswith(NOT.message) and refused.failed.excerpt == NOT.excerpt
    assert refused.failed.kind == "package" and "--retry-failed" in refused.failed.hint
    assert isinstance(farm.settler().foresee(STEP, {"zeta": _result()}), Refuse)


def test_who_asks_for_it_has_it_tried_again_once(farm: Farm) -> None:
    farm.fail(NOT)
    farm.tries_again = True
    farm.fail(NOT)
    farm.since = time.time() - 60  # what failed now, failed in this very run
    assert isinstance(farm.settle(), Refuse)
    forced = replace(farm.settler(), force=frozenset({"munge"}))
    assert isinstance(forced.settle(STEP, {"zeta": _result()}), Run)


def test_other_inputs_are_tried_and_so_is_what_only_a_mishap_kept_from_being_built(
    farm: Farm,
) -> None:
    farm.fail(MISHAP)
    farm.fail(NOT)
    farm.recipe = recipe("corrected")
    farm.fail(MISHAP)
    assert isinstance(farm.settle(), Run)


def test_a_mishap_after_a_failure_does_not_make_it_forgotten(farm: Farm) -> None:
    farm.fail(NOT)
    farm.tries_again = True
    farm.fail(MISHAP)
    farm.tries_again = False
    assert isinstance(farm.settle(), Refuse)


@pytest.mark.parametrize(
    ("before", "now", "tried"),
    [
        (Limits(memory=100), Limits(memory=100), False),
        (Limits(memory=100), Limits(memory=50), False),
        (Limits(memory=100), Limits(memory=101), True),
        (Limits(memory=100), Limits(memory=0), True),
        (Limits(memory=100, time=5), Limits(memory=100, time=9), False),
    ],
)
def test_a_limit_that_was_hit_stands_until_it_is_raised(
    farm: Farm, before: Limits, now: Limits, tried: bool
) -> None:
    farm.limits = before
    farm.fail(OVER)
    farm.limits = now
    assert isinstance(farm.settle(), Run if tried else Refuse)


def test_a_limit_that_an_early_farm_named_in_words_alone_is_tried_again_with_any_raised(
    farm: Farm,
) -> None:
    farm.limits = Limits(memory=100, time=5)
    farm.fail(Failed("limit", "munge hit the limit on something"))
    assert isinstance(farm.settle(), Refuse)
    farm.limits = Limits(memory=100, time=6)
    assert isinstance(farm.settle(), Run)


def test_what_was_built_once_and_then_failed_by_force_stands_as_built(farm: Farm) -> None:
    built = farm.build()
    forced = replace(farm.settler(), force=frozenset({"munge"})).settle(STEP, {"zeta": _result()})
    assert isinstance(forced, Run)
    farm.settler().finish(STEP, farm.begun(forced).job, NOT)
    kept = farm.settle()
    assert isinstance(kept, Keep) and kept.result == built


def test_an_attempt_begins_in_the_ledger_right_before_it_starts(farm: Farm) -> None:
    run = farm.settle()
    assert isinstance(run, Run) and not run.directory.exists()
    assert farm.ledger.going() == ()
    begun = farm.settler().begin(STEP, run, 3)
    assert isinstance(begun, Run)
    assert begun.job.cpus == 3 and begun.job.demand.seconds == 60.0
    order = from_json(WorkOrder, (begun.directory / "job.json").read_bytes())
    assert order.job == begun.job
    assert [going.id for going in farm.ledger.going()] == [run.job.attempt]


def test_the_cores_that_are_configured_are_not_added_to(farm: Farm) -> None:
    farm.cores = {"munge": 2}
    run = farm.settle()
    assert isinstance(run, Run)
    begun = farm.settler().begin(STEP, run, 16)
    assert isinstance(begun, Run) and begun.job.cpus == 2


def test_an_attempt_for_whose_job_file_there_is_no_room_does_not_begin(farm: Farm) -> None:
    run = farm.settle()
    assert isinstance(run, Run)
    run.directory.parent.mkdir(parents=True)
    run.directory.write_bytes(b"")  # whatever the reason: it cannot be written there
    begun = farm.settler().begin(STEP, run, 1)
    assert isinstance(begun, Refuse) and begun.failed.kind == "infrastructure"
    assert farm.ledger.going() == ()


def test_after_a_mishap_the_same_is_tried_elsewhere(farm: Farm) -> None:
    first = farm.run()
    again = farm.settler().again(STEP, first.job, MISHAP, 1, "n1")
    assert again is not None and again.reason == f"attempt 2: {MISHAP.message}"
    third = farm.settler().again(STEP, again.job, MISHAP, 2, "n2")
    assert third is not None and third.job.avoid == ("n1", "n2")
    assert len({first.job.attempt, again.job.attempt, third.job.attempt}) == 3
    assert third.job.key == first.job.key and third.job.demand == first.job.demand


def test_a_disk_that_goes_on_damaging_files_is_a_mishap_like_any_other(farm: Farm) -> None:
    farm.lock = Lock((msgspec.structs.replace(GCC, location="gcc.rpm"),))
    settler = farm.settler()
    damaged = replace(settler.stages, sound=lambda name, *, anew=False: name != GCC.sha256)
    settler = replace(settler, stages=damaged)
    first = settler.finish(STEP, farm.run().job, MISHAP)
    assert isinstance(first, Run) and first.reason == "a file of its was damaged"
    assert settler.finish(STEP, farm.begun(first).job, MISHAP) == MISHAP


def test_nothing_is_tried_again_that_lacks_a_file_which_only_a_build_makes(farm: Farm) -> None:
    run = farm.run()
    farm.store.path(ZETA.sha256).unlink()
    assert farm.settler().again(STEP, run.job, MISHAP, 1, "n1") is None


def test_a_full_disk_while_preparing_is_a_mishap_of_this_step_alone(farm: Farm) -> None:
    def full(_: Recipe) -> Inputs:
        raise OSError(errno.ENOSPC, "No space left on device", "/store")

    settler = farm.settler()
    stages = replace(settler.stages, inputs=full)
    refused = replace(settler, stages=stages).settle(STEP, {"zeta": _result()})
    assert isinstance(refused, Refuse) and refused.failed.kind == "infrastructure"
    assert "No space left" in refused.failed.message


def test_where_memory_ran_out_the_next_attempt_asks_for_more(farm: Farm) -> None:
    run = farm.run()
    killed = diagnose([], package="munge", phase="%build", signal=9, used=Usage(memory=6 << 30))
    again = farm.settler().again(STEP, run.job, killed, 1, "n1")
    assert again is not None and again.job.demand.memory == 9 << 30


def test_an_attempt_that_goes_on_is_taken_up_if_it_makes_what_is_wanted(farm: Farm) -> None:
    begun = farm.run()
    farm.recovered = {STEP.id: begun.job}
    taken = farm.settle()
    assert isinstance(taken, Run) and taken.going
    assert (taken.job, taken.directory) == (begun.job, begun.directory)
    assert isinstance(farm.finish(taken, "bytes"), Result)


@pytest.mark.parametrize("what", ["recipe", "counter", "force"])
def test_an_attempt_that_goes_on_at_something_else_is_given_up(farm: Farm, what: str) -> None:
    begun = farm.run()
    farm.recovered = {STEP.id: begun.job}
    settler = farm.settler()
    if what == "recipe":
        farm.recipe = recipe("two")
        settler = farm.settler()
    elif what == "counter":
        farm.ledger.set_counter("d", "munge", "1-1", 2)
    else:
        settler = replace(settler, force=frozenset({"munge"}))
    run = settler.settle(STEP, {"zeta": _result()})
    assert isinstance(run, Run) and not run.going
    assert farm.ledger.going() == ()
    failed = farm.finish(begun, "a zombie's bytes")
    assert isinstance(failed, Failed) and "given up" in failed.message
    assert farm.ledger.standing(STEP.id) is None


def test_a_place_is_known_by_who_claimed_the_attempt(farm: Farm) -> None:
    run = farm.run()
    (run.directory / FILE).write_bytes(to_json(Claim("w", "node7")))
    farm.finish(run, "bytes")
    assert [attempt.place for attempt in farm.ledger.attempts()] == ["node7"]
