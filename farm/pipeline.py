"""The story: one short function for each verb, the whole run readable here.

layer  →  plan  →  rebuild  →  sign  →  publish  →  site
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from farm.audience import audience
from farm.building import Build, BuildRequest, granted, tries_again, wanted, wish_of
from farm.config import Config
from farm.errors import PublishError
from farm.inputs import check_names, layer_of, read_chroots
from farm.lazily import later
from farm.ledger import coordinator, reader, visitor
from farm.progress import Emit
from farm.recovery import take_in
from farm.reports import BuildReport, PackageStatus, foreseen_rows, package_statuses
from farm.survey import open_survey
from farm.turns import Waiting, turn, turn_or_answer
from farm.wishes import Answer
from farm.workshop import open_workshop

if TYPE_CHECKING:
    from farm.attesting import AttestReport, take_in_files
    from farm.base.build import build_base
    from farm.basemove import BaseChange, move_base
    from farm.checks import CheckReport, CheckRequest, attempted, joined
    from farm.checks import check as check_layer
    from farm.collection import GcReport, GcRequest, collect, scene_of
    from farm.doctor import Finding
    from farm.doctor import examine as look_around
    from farm.foresight import Foresight
    from farm.foresight import foresee as foresee_build
    from farm.gate import Gate, forced
    from farm.layer.sources import SourceCache, fetch
    from farm.layer.update import update
    from farm.logs import last_attempt
    from farm.publish.attesters import panel
    from farm.publish.keys import Key, key_ring
    from farm.publish.selection import select
    from farm.publish.snapshot import Published, read_current, read_results
    from farm.publish.snapshot import publish as publish_snapshot
    from farm.published import formers
    from farm.reasons import Why, WhyRequest
    from farm.reasons import why as why_of
    from farm.rebuild.keys import restore
    from farm.rebuild.roots import emulator_for
    from farm.rebuild.shell import open_shell
    from farm.rebuild.space import roots_directory
    from farm.rebuilt import Rebuild, RebuildRequest, rebuilds
    from farm.showing import show
    from farm.site.repofile import paste_lines, repo_file, repo_file_name
    from farm.site.serve import serve as serve_directory
    from farm.site.trial import Trial
    from farm.site.trial import try_out as try_one
    from farm.stranger import StrangerReport, StrangerRequest, attested
    from farm.stranger import verify_published as verify_stranger
    from farm.verification.reproduction import reproduce
    from farm.verification.subjects import VerifyRequest, subjects
    from farm.verification.verdicts import VerifyReport, in_words
else:  # one verb needs little of it: all together it takes half a second to read
    take_in_files = later("farm.attesting:take_in_files")
    build_base = later("farm.base.build:build_base")
    move_base = later("farm.basemove:move_base")
    attempted = later("farm.checks:attempted")
    joined = later("farm.checks:joined")
    check_layer = later("farm.checks:check")
    collect = later("farm.collection:collect")
    scene_of = later("farm.collection:scene_of")
    look_around = later("farm.doctor:examine")
    foresee_build = later("farm.foresight:foresee")
    Gate = later("farm.gate:Gate")
    forced = later("farm.gate:forced")
    SourceCache = later("farm.layer.sources:SourceCache")
    fetch = later("farm.layer.sources:fetch")
    update = later("farm.layer.update:update")
    last_attempt = later("farm.logs:last_attempt")
    panel = later("farm.publish.attesters:panel")
    key_ring = later("farm.publish.keys:key_ring")
    select = later("farm.publish.selection:select")
    read_current = later("farm.publish.snapshot:read_current")
    read_results = later("farm.publish.snapshot:read_results")
    publish_snapshot = later("farm.publish.snapshot:publish")
    formers = later("farm.published:formers")
    why_of = later("farm.reasons:why")
    restore = later("farm.rebuild.keys:restore")
    emulator_for = later("farm.rebuild.roots:emulator_for")
    open_shell = later("farm.rebuild.shell:open_shell")
    roots_directory = later("farm.rebuild.space:roots_directory")
    rebuilds = later("farm.rebuilt:rebuilds")
    show = later("farm.showing:show")
    paste_lines = later("farm.site.repofile:paste_lines")
    repo_file = later("farm.site.repofile:repo_file")
    repo_file_name = later("farm.site.repofile:repo_file_name")
    serve_directory = later("farm.site.serve:serve")
    try_one = later("farm.site.trial:try_out")
    attested = later("farm.stranger:attested")
    verify_stranger = later("farm.stranger:verify_published")
    reproduce = later("farm.verification.reproduction:reproduce")
    subjects = later("farm.verification.subjects:subjects")
    VerifyReport = later("farm.verification.verdicts:VerifyReport")
    in_words = later("farm.verification.verdicts:in_words")

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
        names = wanted(survey, request)
        plan = survey.plan(names)
        for problem in survey.problems_beside(plan):
            emit("warning", text=str(problem))
        settler = shop.settler(
            force=names if request.force else (), looking=True,
            tries_again=tries_again(request, names),
        )  # fmt: skip
        expected = {step.id: shop.expect(step).seconds for step in plan.steps}
        rows = foreseen_rows(settler, plan.steps, expected)
    took = time.monotonic() - started
    return BuildReport(survey.release, survey.layer.commit, rows, took, dry_run=True)


def plan(config: Config, request: BuildRequest, emit: Emit) -> Foresight:
    """How a build would go: order, time, cost; nothing is built, and nobody is waited for."""
    with visitor(config.path("state")) as ledger:
        survey = open_survey(
            config, ledger, emit, release=request.release, archs=request.archs, srpms=request.srpms
        )
        return foresee_build(survey, open_workshop(survey, jobs=request.jobs), request)


def check(config: Config, request: CheckRequest, emit: Emit) -> CheckReport:
    """Layer and base → verdicts with reasons; nothing is built, nothing published."""
    releases = request.releases or (config.default_release,)
    with visitor(config.path("state")) as ledger:

        def one(release: str) -> CheckReport:
            survey = open_survey(config, ledger, emit, release=release, archs=request.archs)
            return check_layer(survey, request)

        if "all" not in releases:
            return joined([one(release) for release in releases])
        return joined([attempted(one, release) for release in config.releases])


def why(config: Config, request: WhyRequest, emit: Emit) -> Why:
    """The chain of reasons behind a package, or behind one package's need of another."""
    with visitor(config.path("state")) as ledger:
        survey = open_survey(config, ledger, emit, release=request.release, archs=request.archs)
        return why_of(survey, request)


def why_rebuild(config: Config, request: RebuildRequest, emit: Emit) -> tuple[Rebuild, ...]:
    """What differs between what stands of a package and what would be built now."""
    with visitor(config.path("state")) as ledger:
        survey = open_survey(config, ledger, emit, release=request.release, archs=request.archs)
        return rebuilds(open_workshop(survey, builder="embedded"), request.name)


def base_build(config: Config, archs: tuple[str, ...], refresh: bool, emit: Emit) -> None:
    """Debian's binary packages → the embedded base, for each architecture."""
    wanted = archs or config.release(None)[1].architectures

    def report(text: str) -> None:
        arch, _, stage = text.partition(": ")
        emit("running", f"base {arch}", phase=stage, expected=_BASE_SECONDS)

    for built in build_base(config, wanted, report, refresh=refresh):
        verdict = "built" if built.fresh else "kept"
        text = f"{built.packages} packages"
        emit(verdict, f"base {built.arch}", text=text, seconds=built.seconds)


def base_update(
    config: Config, release: str | None, *, dry_run: bool, emit: Emit
) -> tuple[BaseChange, ...]:
    """A newer state of the base → what it breaks, rebuilds and leaves → the pin for builds."""
    with coordinator(config.path("state")) as ledger:
        survey = open_survey(config, ledger, emit, release=release)
        changes = move_base(survey, dry_run=dry_run)
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
) -> Published:
    """What stands → every check → signed packages → a snapshot → the release's pointer.

    `force`: checks that may fail this time, and why. `waiting`: what to do while another farm is
    at work here.
    """
    publication = config.path("publication")
    waived = forced(force)
    release, _ = config.release(release)
    with (
        turn(config.path("state"), emit, waiting=waiting) as ledger,
        audience(config, ledger, emit, verb="publish", release=release) as tell,
        panel(config) as attesters,
    ):
        survey = open_survey(config, ledger, tell, release=release)
        selection = select(
            survey.recipes,
            {chroot.arch: chroot.name for chroot in survey.chroots},
            {result.step: result for result in ledger.standings()},
            survey.excluded,
            read_current(publication, survey.release),
            ledger.result,
        )
        for note in selection.notes:
            tell("warning", text=note)
        if selection.empty:
            raise PublishError(
                f"nothing that could be published was built for {survey.release}",
                hint="Run `farm build --all` first.",
            )
        gate = Gate(survey, selection.results, waived)
        published = publish_snapshot(
            publication,
            config.path("state"),
            release=survey.release,
            results=selection.results,
            store=survey.store,
            groups=survey.layer.groups,
            settings=config.publish,
            created=int(time.time()),
            commit=survey.layer.commit,
            files={repo_file_name(survey.release): repo_file(config, survey.release)},
            report=lambda text: tell("note", text=text),
            judge=gate.judge,
            fetch=survey.archive,
            recorded=ledger.results_of,
            panel=attesters,
            promote=gate.promote,
        )
        if published.moved:
            tell("published", release=release, text=published.snapshot)
        return published


def attest(config: Config, files: Sequence[Path]) -> AttestReport:
    """Files of attesters → kept beside the snapshots they speak of; how far those are now.

    Without files: how far those are that wait.
    """
    return take_in_files(config, files)


def verify(config: Config, request: VerifyRequest, emit: Emit) -> VerifyReport:
    """What stands → built again in roots that differ on purpose → compared, bit for bit.

    The ledger is only asked, and others may use it meanwhile.
    """
    started = time.monotonic()
    with visitor(config.path("state")) as ledger:
        survey = open_survey(config, ledger, emit, release=request.release, archs=request.archs)
        found = subjects(survey, ledger, request)
    rows, probes = reproduce(survey, found, request)
    took = time.monotonic() - started
    return VerifyReport(survey.release, survey.layer.commit, rows, probes, took)


def verify_published(config: Config, request: StrangerRequest, emit: Emit) -> StrangerReport:
    """A mirror's address → its locked packages → the same builds again → yes, no, or cannot.

    Neither layer nor state is asked; what `request.attest` names signs the answer.
    """
    if not request.attest:
        return verify_stranger(config, request, emit)
    with key_ring(config.path("state")) as ring:
        key = ring.find(request.attest)
    report = verify_stranger(config, request, emit)
    with key_ring(config.path("state")) as ring:
        return attested(report, ring, key, request.output, emit)


def what_sites_paste(config: Config, release: str | None) -> tuple[str, ...]:
    """The commands with which a site of this release begins: its first metapackage, for one."""
    name, _ = config.release(release)
    metapackages = [group.id for group in layer_of(config, name).groups if group.metapackage]
    return paste_lines(config, name, metapackages[:1] or ("PACKAGE",))


def serve(config: Config, bind: str, port: int | None, say: Callable[[str], None]) -> None:
    """The publication root over HTTP until somebody stops it."""
    if port is None:
        port = urlsplit(config.publish.address).port or 80
    publication = config.path("publication")
    publication.mkdir(exist_ok=True)
    serve_directory(publication, bind, port, lambda at: say(f"serving {publication} at {at}"))


def try_out(config: Config, request: TrialRequest, emit: Emit) -> tuple[Trial, ...]:
    """A site for a minute: dnf from the mirror into an empty root, on each architecture."""
    release, _ = config.release(request.release)
    address = request.address or config.publish.address
    repository = repo_file(config, release, address=address)
    roots = roots_directory(config.paths.roots, config.path("state"))
    names = (*request.names, *_SITE_HAS) if request.script else request.names
    trials = []
    for chroot in read_chroots(config, release, request.archs):
        step = f"site@{chroot.name}"
        emit("running", step, phase="start", text="a site installs")
        trials.append(
            try_one(
                names, chroot, repository, roots=roots, command=request.script or "",
                emulator=emulator_for(chroot),
                keep=request.keep / chroot.arch if request.keep else None,
                on_phase=lambda phase, step=step: emit("running", step, phase=phase),  # type: ignore[misc]
            )
        )  # fmt: skip
        emit("built", step, seconds=trials[-1].seconds, text=", ".join(request.names))
    return tuple(trials)


def key_new(config: Config, name: str) -> Key:
    """Make a signing key in farm's key ring."""
    with key_ring(config.path("state")) as ring:
        return ring.new(name)


def key_import(config: Config, file: Path) -> tuple[Key, ...]:
    """Take secret keys from a file."""
    with key_ring(config.path("state")) as ring:
        return ring.import_file(file)


def key_list(config: Config) -> tuple[Key, ...]:
    """All signing keys."""
    with key_ring(config.path("state")) as ring:
        return ring.keys()


def key_export(config: Config, name: str) -> str:
    """The public half of a key, armoured."""
    with key_ring(config.path("state")) as ring:
        return ring.public(ring.find(name))


def status(config: Config, release: str | None) -> tuple[PackageStatus, ...]:
    """What stands, what is published, how the last attempt went."""
    name, _ = config.release(release)
    current = read_current(config.path("publication"), name)
    layer = layer_of(config, name)
    with reader(config.path("state")) as ledger:
        verified = partial(in_words, config.path("state"))
        return package_statuses(layer, read_chroots(config, name), ledger, current, verified)


def examine(config: Config) -> tuple[Finding, ...]:
    """What this machine has and lacks."""
    return look_around(config)


def sources(config: Config, names: tuple[str, ...], *, update_them: bool, emit: Emit) -> list[str]:
    """Source archives, fetched and checked; with `update_them` the `sources` files are written."""
    layer = layer_of(config, config.default_release)
    check_names(layer, names)
    recipes = [r for r in layer.recipes if (r.name in names or not names) and r.origin == "spec"]
    cache = SourceCache(config)
    lines = []
    for recipe in recipes:
        say = lambda text: emit("note", text=text)  # noqa: E731
        if update_them:
            answer = update(recipe, config, cache, say)
            lines += [
                f"{recipe.name}: {f.file} {f.state} {f.origin}".rstrip() for f in answer.files
            ]
            lines += [f"{recipe.name}: {gone} is no longer declared" for gone in answer.removed]
            lines += [f"{recipe.name}: {note}" for note in answer.notes]
        else:
            files = fetch(recipe, config, cache, say)
            lines.append(f"{recipe.name}: {len(files)} files, checksums verified")
    return lines


def shell(config: Config, request: ShellRequest) -> int:
    """A shell in the root of the last (failed) build; its exit code."""
    chroots = read_chroots(config, config.release(request.release)[0], request.archs)
    state = config.path("state")
    with reader(state) as ledger:
        attempt = last_attempt(ledger, request.name, chroots)
    return open_shell(state / "attempts" / attempt.id, request.command, store=state / "store")


def gc(config: Config, request: GcRequest, emit: Emit) -> GcReport:
    """Remove what nothing reaches: neither what is published, nor what stands, nor the base."""
    with coordinator(config.path("state")) as ledger:
        report = collect(scene_of(config), ledger, request, emit)
        if not request.dry_run:
            show(config, ledger, emit)
        return report


def ledger_rebuild(config: Config, emit: Emit) -> int:
    """The published tree → results, standings and counters of a lost ledger; how many results."""
    publication = config.path("publication")
    results = read_results(publication)
    chroots = {c.name: c for name in config.releases for c in read_chroots(config, name)}
    with coordinator(config.path("state")) as ledger:
        restore(ledger, chroots, results, formers(config))
        for name in config.releases:
            current = read_current(publication, name)
            standing = {entry.key for entry in current.entries} if current else set()
            for result in results:
                if result.key in standing:
                    ledger.stand(result.step, result.key)
    emit("note", text=f"{len(results)} results are recorded again")
    return len(results)
