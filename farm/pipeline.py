"""The story: one short function for each verb, the whole run readable here.

layer  →  plan  →  rebuild  →  sign  →  publish  →  site
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from farm.audience import audience
from farm.building import Build, BuildRequest, granted, tries_again, wanted, wish_of
from farm.config import Config
from farm.errors import PublishError
from farm.inputs import check_names, layer_of, read_chroots
from farm.lazily import lazily
from farm.ledger import coordinator, reader, visitor
from farm.progress import Emit
from farm.recovery import take_in
from farm.reports import BuildReport, PackageStatus, foreseen_rows, package_statuses
from farm.survey import open_survey
from farm.turns import Waiting, turn, turn_or_answer
from farm.wishes import Answer
from farm.workshop import open_workshop

with lazily():  # one verb needs little of it: all together it takes half a second to read
    from farm import (
        attesting,
        basemove,
        checks,
        collection,
        doctor,
        foresight,
        gate,
        logs,
        metrics,
        published,
        reasons,
        rebuilt,
        showing,
        stranger,
    )
    from farm.base import build as embedded
    from farm.layer import sources as archives
    from farm.layer import update as updates
    from farm.publish import attesters, keys, selection, snapshot
    from farm.rebuild import keys as job_keys
    from farm.rebuild import roots, space
    from farm.rebuild import shell as shells
    from farm.site import repofile, trial
    from farm.site import serve as server
    from farm.verification import reproduction, subjects, verdicts

# What any site has, and a command may count on; setpriv makes it run as an ordinary user.
_SITE_HAS = ("/bin/sh", "coreutils", "rpm", "/usr/bin/setpriv")


_BASE_SECONDS = 60.0  # what one architecture of the embedded base takes, about


@dataclass(frozen=True)
class TrialRequest:
    """What `farm try` was asked for."""

    names: tuple[str, ...]
    archs: tuple[str, ...] = ()
    release: str | None = None
    address: str | None = None
    script: str | None = None
    keep: Path | None = None


@dataclass(frozen=True)
class ShellRequest:
    """What `farm shell` was asked for."""

    name: str
    archs: tuple[str, ...] = ()
    release: str | None = None
    command: tuple[str, ...] = ()


def build(config: Config, request: BuildRequest, emit: Emit) -> BuildReport:
    """Specs → packages in the store: what is asked for and what it needs, nothing else.

    A build that is at work on the same state directory is asked to do it, if it can.
    """
    if request.dry_run:
        return foresee(config, request, emit)
    wish = partial(wish_of, config, request)
    release, _ = config.release(request.release)
    with turn_or_answer(config.path("state"), emit, wish, waiting=request.waiting) as ours:
        if isinstance(ours, Answer):
            return granted(ours)
        with audience(config, ours, emit, verb="build", release=release) as tell:
            take_in(config, ours, tell)
            survey = open_survey(
                config, ours, tell, release=release, archs=request.archs, srpms=request.srpms
            )
            shop = open_workshop(survey, builder=request.builder, jobs=request.jobs)
            shop.check_room()
            return Build(shop, request).run()


def foresee(config: Config, request: BuildRequest, emit: Emit) -> BuildReport:
    """What a build would do and why; nothing is built, and nobody is waited for."""
    started = time.monotonic()
    with visitor(config.path("state")) as ledger:
        survey = open_survey(
            config, ledger, emit, release=request.release, archs=request.archs, srpms=request.srpms
        )
        shop = open_workshop(survey, builder=request.builder, jobs=request.jobs)
        wants = wanted(survey, request)
        plan = wants.of(survey.plan(wants.names))
        for problem in survey.problems_beside(plan):
            emit("warning", text=str(problem))
        settler = shop.settler(
            force=wants.names if request.force else (), looking=True,
            tries_again=tries_again(request, wants.names),
        )  # fmt: skip
        expected = {step.id: shop.expect(step).seconds for step in plan.steps}
        rows = foreseen_rows(settler, plan.steps, expected)
    took = time.monotonic() - started
    return BuildReport(survey.release, survey.layer.commit, rows, took, dry_run=True)


def plan(config: Config, request: BuildRequest, emit: Emit) -> foresight.Foresight:
    """How a build would go: order, time, cost; nothing is built, and nobody is waited for."""
    with visitor(config.path("state")) as ledger:
        survey = open_survey(
            config, ledger, emit, release=request.release, archs=request.archs, srpms=request.srpms
        )
        return foresight.foresee(survey, open_workshop(survey, jobs=request.jobs), request)


def check(config: Config, request: checks.CheckRequest, emit: Emit) -> checks.CheckReport:
    """Layer and base → verdicts with reasons; nothing is built, nothing published."""
    releases = request.releases or (config.default_release,)
    with visitor(config.path("state")) as ledger:

        def one(release: str) -> checks.CheckReport:
            survey = open_survey(config, ledger, emit, release=release, archs=request.archs)
            return checks.check(survey, request)

        if "all" not in releases:
            return checks.joined([one(release) for release in releases])
        return checks.joined([checks.attempted(one, release) for release in config.releases])


def why(config: Config, request: reasons.WhyRequest, emit: Emit) -> reasons.Why:
    """The chain of reasons behind a package, or behind one package's need of another."""
    with visitor(config.path("state")) as ledger:
        survey = open_survey(config, ledger, emit, release=request.release, archs=request.archs)
        return reasons.why(survey, request)


def why_rebuild(
    config: Config, request: rebuilt.RebuildRequest, emit: Emit
) -> tuple[rebuilt.Rebuild, ...]:
    """What differs between what stands of a package and what would be built now."""
    with visitor(config.path("state")) as ledger:
        survey = open_survey(config, ledger, emit, release=request.release, archs=request.archs)
        return rebuilt.rebuilds(open_workshop(survey, builder="embedded"), request.name)


def base_build(config: Config, archs: tuple[str, ...], refresh: bool, emit: Emit) -> None:
    """Debian's binary packages → the embedded base, for each architecture."""
    wanted = archs or config.release(None)[1].architectures

    def report(text: str) -> None:
        arch, _, stage = text.partition(": ")
        emit("running", f"base {arch}", phase=stage, expected=_BASE_SECONDS)

    for built in embedded.build_base(config, wanted, report, refresh=refresh):
        verdict = "built" if built.fresh else "kept"
        text = f"{built.packages} packages"
        emit(verdict, f"base {built.arch}", text=text, seconds=built.seconds)


def base_update(
    config: Config, release: str | None, *, dry_run: bool, emit: Emit
) -> tuple[basemove.BaseChange, ...]:
    """A newer state of the base → what it breaks, rebuilds and leaves → the pin for builds."""
    with coordinator(config.path("state")) as ledger:
        survey = open_survey(config, ledger, emit, release=release)
        changes = basemove.move_base(survey, dry_run=dry_run)
    verb = "would move" if dry_run else "moved"
    emit("note", text=f"the pins of {survey.release} {verb} to what its base holds now")
    return changes


def publish(
    config: Config,
    release: str | None,
    emit: Emit,
    force: Sequence[tuple[str, str]] = (),
    *,
    waiting: Waiting = "wait",
) -> snapshot.Published:
    """What stands → every check → signed packages → a snapshot → the release's pointer.

    `force`: checks that may fail this time, and why. `waiting`: what to do while another farm is
    at work here.
    """
    publication = config.path("publication")
    waived = gate.forced(force)
    release, _ = config.release(release)
    with (
        turn(config.path("state"), emit, waiting=waiting) as ledger,
        audience(config, ledger, emit, verb="publish", release=release) as tell,
        attesters.panel(config) as panel,
    ):
        survey = open_survey(config, ledger, tell, release=release)
        chosen = selection.select(
            survey.recipes,
            {chroot.arch: chroot.name for chroot in survey.chroots},
            {result.step: result for result in ledger.standings()},
            survey.excluded,
            snapshot.read_current(publication, survey.release),
            ledger.result,
        )
        for note in chosen.notes:
            tell("warning", text=note)
        if chosen.empty:
            raise PublishError(
                f"nothing that could be published was built for {survey.release}",
                hint="Run `farm build --all` first.",
            )
        judge = gate.Gate(survey, chosen.results, waived)
        made = snapshot.publish(
            publication,
            config.path("state"),
            release=survey.release,
            results=chosen.results,
            store=survey.store,
            groups=survey.layer.groups,
            settings=config.publish,
            created=int(time.time()),
            commit=survey.layer.commit,
            files={
                repofile.repo_file_name(survey.release): repofile.repo_file(config, survey.release)
            },
            report=lambda text: tell("note", text=text),
            judge=judge.judge,
            fetch=survey.archive,
            recorded=ledger.results_of,
            panel=panel,
            promote=judge.promote,
        )
        if made.moved:
            tell("published", release=release, text=made.snapshot)
        return made


def attest(config: Config, files: Sequence[Path]) -> attesting.AttestReport:
    """Files of attesters → kept beside the snapshots they speak of; how far those are now.

    Without files: how far those are that wait.
    """
    return attesting.take_in_files(config, files)


def verify(config: Config, request: subjects.VerifyRequest, emit: Emit) -> verdicts.VerifyReport:
    """What stands → built again in roots that differ on purpose → compared, bit for bit.

    The ledger is only asked, and others may use it meanwhile.
    """
    started = time.monotonic()
    with visitor(config.path("state")) as ledger:
        survey = open_survey(config, ledger, emit, release=request.release, archs=request.archs)
        found = subjects.subjects(survey, ledger, request)
    rows, probes = reproduction.reproduce(survey, found, request)
    took = time.monotonic() - started
    return verdicts.VerifyReport(survey.release, survey.layer.commit, rows, probes, took)


def verify_published(
    config: Config, request: stranger.StrangerRequest, emit: Emit
) -> stranger.StrangerReport:
    """A mirror's address → its locked packages → the same builds again → yes, no, or cannot.

    Neither layer nor state is asked; what `request.attest` names signs the answer.
    """
    if not request.attest:
        return stranger.verify_published(config, request, emit)
    with keys.key_ring(config.path("state")) as ring:
        key = ring.find(request.attest)
    report = stranger.verify_published(config, request, emit)
    with keys.key_ring(config.path("state")) as ring:
        return stranger.attested(report, ring, key, request.output, emit)


def what_sites_paste(config: Config, release: str | None) -> tuple[str, ...]:
    """The commands with which a site of this release begins: its first metapackage, for one."""
    name, _ = config.release(release)
    metapackages = [group.id for group in layer_of(config, name).groups if group.metapackage]
    return repofile.paste_lines(config, name, metapackages[:1] or ("PACKAGE",))


def serve(config: Config, bind: str, port: int | None, say: Callable[[str], None]) -> None:
    """The publication root over HTTP until somebody stops it."""
    if port is None:
        port = urlsplit(config.publish.address).port or 80
    publication = config.path("publication")
    publication.mkdir(exist_ok=True)
    server.serve(
        publication, bind, port, lambda at: say(f"serving {publication} at {at}"),
        metrics=metrics.metrics_path(config),
    )  # fmt: skip


def try_out(config: Config, request: TrialRequest, emit: Emit) -> tuple[trial.Trial, ...]:
    """A site for a minute: dnf from the mirror into an empty root, on each architecture."""
    release, _ = config.release(request.release)
    address = request.address or config.publish.address
    repository = repofile.repo_file(config, release, address=address)
    beneath = space.roots_directory(config.paths.roots, config.path("state"))
    names = (*request.names, *_SITE_HAS) if request.script else request.names
    trials = []
    for chroot in read_chroots(config, release, request.archs):
        step = f"site@{chroot.name}"
        emit("running", step, phase="start", text="a site installs")
        trials.append(
            trial.try_out(
                names, chroot, repository, roots=beneath, command=request.script or "",
                emulator=roots.emulator_for(chroot),
                keep=request.keep / chroot.arch if request.keep else None,
                on_phase=lambda phase, step=step: emit("running", step, phase=phase),  # type: ignore[misc]
            )
        )  # fmt: skip
        emit("built", step, seconds=trials[-1].seconds, text=", ".join(request.names))
    return tuple(trials)


def key_new(config: Config, name: str) -> keys.Key:
    """Make a signing key in farm's key ring."""
    with keys.key_ring(config.path("state")) as ring:
        return ring.new(name)


def key_import(config: Config, file: Path) -> tuple[keys.Key, ...]:
    """Take secret keys from a file."""
    with keys.key_ring(config.path("state")) as ring:
        return ring.import_file(file)


def key_list(config: Config) -> tuple[keys.Key, ...]:
    """All signing keys."""
    with keys.key_ring(config.path("state")) as ring:
        return ring.keys()


def key_export(config: Config, name: str) -> str:
    """The public half of a key, armoured."""
    with keys.key_ring(config.path("state")) as ring:
        return ring.public(ring.find(name))


def status(config: Config, release: str | None) -> tuple[PackageStatus, ...]:
    """What stands, what is published, how the last attempt went."""
    name, _ = config.release(release)
    current = snapshot.read_current(config.path("publication"), name)
    layer = layer_of(config, name)
    with reader(config.path("state")) as ledger:
        verified = partial(verdicts.in_words, config.path("state"))
        return package_statuses(layer, read_chroots(config, name), ledger, current, verified)


def examine(config: Config) -> tuple[doctor.Finding, ...]:
    """What this machine has and lacks."""
    return doctor.examine(config)


def sources(config: Config, names: tuple[str, ...], *, update_them: bool, emit: Emit) -> list[str]:
    """Source archives, fetched and checked; with `update_them` the `sources` files are written."""
    layer = layer_of(config, config.default_release)
    check_names(layer, names)
    recipes = [r for r in layer.recipes if (r.name in names or not names) and r.origin == "spec"]
    cache = archives.SourceCache(config)
    lines = []
    for recipe in recipes:
        say = lambda text: emit("note", text=text)  # noqa: E731
        if update_them:
            answer = updates.update(recipe, config, cache, say)
            lines += [
                f"{recipe.name}: {f.file} {f.state} {f.origin}".rstrip() for f in answer.files
            ]
            lines += [f"{recipe.name}: {gone} is no longer declared" for gone in answer.removed]
            lines += [f"{recipe.name}: {note}" for note in answer.notes]
        else:
            files = archives.fetch(recipe, config, cache, say)
            lines.append(f"{recipe.name}: {len(files)} files, checksums verified")
    return lines


def shell(config: Config, request: ShellRequest) -> int:
    """A shell in the root of the last (failed) build; its exit code."""
    chroots = read_chroots(config, config.release(request.release)[0], request.archs)
    state = config.path("state")
    with reader(state) as ledger:
        attempt = logs.last_attempt(ledger, request.name, chroots)
    return shells.open_shell(
        state / "attempts" / attempt.id, request.command, store=state / "store"
    )


def gc(config: Config, request: collection.GcRequest, emit: Emit) -> collection.GcReport:
    """Remove what nothing reaches: neither what is published, nor what stands, nor the base."""
    with coordinator(config.path("state")) as ledger:
        report = collection.collect(collection.scene_of(config), ledger, request, emit)
        if not request.dry_run:
            showing.show(config, ledger, emit)
        return report


def ledger_rebuild(config: Config, emit: Emit) -> int:
    """The published tree → results, standings and counters of a lost ledger; how many results."""
    publication = config.path("publication")
    results = snapshot.read_results(publication)
    chroots = {c.name: c for name in config.releases for c in read_chroots(config, name)}
    with coordinator(config.path("state")) as ledger:
        job_keys.restore(ledger, chroots, results, published.formers(config))
        for name in config.releases:
            current = snapshot.read_current(publication, name)
            standing = {entry.key for entry in current.entries} if current else set()
            for result in results:
                if result.key in standing:
                    ledger.stand(result.step, result.key)
    emit("note", text=f"{len(results)} results are recorded again")
    return len(results)
