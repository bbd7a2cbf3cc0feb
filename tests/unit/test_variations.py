"""Names of variations, what they take of a sandbox, and what probes say of them."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.errors import MachineError, UsageError
from farm.model import Built, Nevra, Package
from farm.rebuild import native
from farm.rebuild.roots import RootCache
from farm.rebuild.varied import opening, varying
from farm.sandbox import Bind, Collect, Overlay, Sandbox, User
from farm.sandbox.script import BUILDER, inner_script
from farm.sandbox.variation import NAMES, OTHER_BUILDER, Differences, differences
from farm.store import Store
from farm.verify.probes import SEEN_BY_RPM, judge, spec
from farm.verify.variations import VARIATIONS, meanings, parse

names = st.sets(st.sampled_from(NAMES)).map(lambda chosen: tuple(n for n in NAMES if n in chosen))


def built(*differing: str, source: str = "") -> Built:
    """What the probe came to, some of its packages unlike the usual ones, and so its source."""
    source = source or ("other" if SEEN_BY_RPM.intersection(differing) else "usual")

    def package(name: str, digest: str) -> Package:
        return Package(Nevra(f"probe-{name}", 0, "1", "1", "noarch"), digest, 1, "probe")

    found = tuple(package(name, "other" if name in differing else "usual") for name in NAMES)
    return Built(found, package("", source), 1.0)


def script(sandbox: Sandbox) -> str:
    return inner_script(sandbox, ("true",), Path("/run/area"), lambda path: path, ())


def bubblewrap(sandbox: Sandbox) -> list[str]:
    text = script(sandbox)
    return shlex.split(text[text.index("env -i ") :])


ROOTED = (Bind(Overlay((Path("/a"),)), "/", writable=True),)


def test_all_each_and_none_are_rounds_of_their_own() -> None:
    assert parse("all") == (NAMES,)
    assert parse("each") == tuple((name,) for name in NAMES)
    assert parse("none") == ((),)
    assert parse("none+all") == ((), NAMES)


@given(st.lists(st.sampled_from(NAMES), min_size=1))
def test_named_variations_are_one_round_in_one_order(chosen: list[str]) -> None:
    (found,) = parse(", ".join(chosen))
    assert set(found) == set(chosen)
    assert list(found) == sorted(found, key=NAMES.index)


def test_an_unknown_variation_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(UsageError) as refused:
        parse("clock,hostnam")
    assert "hostnam" in refused.value.what
    assert refused.value.hint == "Perhaps you meant hostname."


@pytest.mark.parametrize("text", ["", ",", "none+", "all,clock"])
def test_what_names_no_round_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse(text)


@pytest.mark.parametrize(
    ("text", "instead"),
    [
        ("each,none", "each+none"),
        ("all,clock,umask", "all+clock,umask"),
        ("none,clock", "none+clock"),
    ],
)
def test_what_stands_for_itself_is_offered_as_a_build_of_its_own(text: str, instead: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text)
    assert caught.value.hint.endswith(f": {instead}")
    assert len(parse(instead)) > 1


def test_every_variation_says_what_it_means() -> None:
    assert all(variation.meaning for variation in VARIATIONS)
    assert meanings(("clock",)).startswith("built with the clock 400 days ahead")
    assert meanings(()) == "built as usual"


def test_nothing_differs_where_nothing_is_named(tmp_path: Path) -> None:
    assert differences(()) == Differences()
    assert varying((), RootCache(tmp_path, Store(tmp_path)), tmp_path) is None
    assert opening(None) == ["umask 022"]


def test_each_variation_changes_something_and_no_two_the_same() -> None:
    alone = [differences((name,)) for name in NAMES]
    assert Differences() not in alone
    assert all(one != other for n, one in enumerate(alone) for other in alone[:n])


@given(names, names)
def test_more_variations_never_take_a_difference_back(
    some: tuple[str, ...], more: tuple[str, ...]
) -> None:
    less, all_of_them = differences(some), differences({*some, *more})
    assert set(less.preloads) <= set(all_of_them.preloads)
    assert less.environment.items() <= all_of_them.environment.items()
    assert set(less.exports) <= set(all_of_them.exports)


def test_the_number_of_jobs_differs_from_the_usual_one() -> None:
    for usual in range(1, 9):
        assert differences(("cores",)).cpus(usual) != usual
        assert differences(("clock",)).cpus(usual) == usual


def test_the_clock_touches_no_variable_of_the_environment() -> None:
    for name in ("clock", "order", "kernel", "filesystem", "ids", "umask", "cores", "roots"):
        found = differences((name,))
        assert not found.environment, name
        assert not found.exports, name


def test_roots_of_their_own_share_nothing_and_leave_nothing(tmp_path: Path) -> None:
    shared = RootCache(tmp_path, Store(tmp_path / "store"))
    (tmp_path / "own-0").mkdir()
    (tmp_path / "own-0" / "left").touch()
    with shared.unshared() as one, shared.unshared() as other:
        assert one.directory != other.directory
        assert not list(one.directory.iterdir())
        assert one.store is shared.store
    assert not one.directory.exists()
    assert not other.directory.exists()


def test_a_sandbox_has_the_host_name_and_the_processor_it_is_given() -> None:
    words = bubblewrap(Sandbox(ROOTED, hostname="elsewhere", processor=3))
    assert words[words.index("--hostname") + 1] == "elsewhere"
    assert words[words.index("-c") + 1] == "3"
    assert words.index("-c") < words.index("--unshare-pid")
    assert "taskset" not in script(Sandbox(ROOTED))


def test_what_lies_over_proc_is_mounted_after_it() -> None:
    words = bubblewrap(Sandbox(ROOTED, over=(Bind(Path("/x"), "/proc/version"),)))
    assert words[words.index("/proc/version") - 2 : words.index("/proc/version")] == [
        "--ro-bind",
        "/x",
    ]
    assert words.index("/proc/version") > words.index("/sys") > words.index("--proc")


def test_a_directory_in_memory_is_below_everything_that_is_bound_into_it() -> None:
    binds = (*ROOTED, Bind(Path("/m"), "/builddir/.rpmmacros"))
    words = bubblewrap(Sandbox(binds, in_memory="/builddir"))
    memory = words.index("$A/memory")
    assert words[memory - 1 : memory + 2] == ["--bind", "$A/memory", "/builddir"]
    assert memory < words.index("/m")


def test_results_are_collected_from_where_the_directory_lies() -> None:
    collect = (Collect("/builddir/build/RPMS", "*.rpm", Path("/out")),)
    usual = script(Sandbox(ROOTED, collect=collect))
    varied = script(Sandbox(ROOTED, collect=collect, in_memory="/builddir"))
    assert "$(readlink -f $A)/0/root/builddir/build/RPMS" in usual
    assert "$(readlink -f $A)/memory/build/RPMS" in varied


def test_a_directory_in_memory_may_grow_as_the_overlay_may() -> None:
    binds = (Bind(Overlay((Path("/a"),), size=4096), "/", writable=True),)
    lines = script(Sandbox(binds, in_memory="/builddir")).splitlines()
    mounts = [line for line in lines if "mount -t tmpfs" in line and "size=4096" in line]
    assert len(mounts) == 2


def test_the_build_user_is_renumbered_by_the_root_inside_and_keeps_no_capability() -> None:
    sandbox = Sandbox(ROOTED, user=User(871, 872), first=("echo first",))
    words = bubblewrap(sandbox)
    added = {words[n + 1] for n, word in enumerate(words) if word == "--cap-add"}
    assert {"CAP_CHOWN", "CAP_SETUID"} <= added
    command = words[words.index("--") + 1 :]
    assert command[:2] == ["/bin/sh", "-ec"]
    assert command[2].startswith("echo first\n")
    assert "--userspec=871:872" in command
    assert OTHER_BUILDER.uid != BUILDER.uid


def test_a_probe_that_differs_is_effective_and_one_that_does_not_is_not() -> None:
    said = judge(built(), built("clock"), ("clock", "order"))
    assert (said.effective, said.ineffective, said.leaked) == (("clock",), ("order",), ())
    assert not said.ok


@given(names, names)
def test_a_judgement_is_right_exactly_when_what_was_asked_for_differs(
    asked: tuple[str, ...], differing: tuple[str, ...]
) -> None:
    said = judge(built(), built(*differing), asked)
    assert said.ok == (set(asked) == set(differing))
    assert set(said.leaked) - {"source"} == set(differing) - set(asked)


def test_a_source_package_that_differs_by_itself_is_told() -> None:
    assert judge(built(), built(source="t"), ()).leaked == ("source",)
    assert judge(built(), built("order", source="t"), ("order",)).leaked == ("source",)


def test_a_source_package_made_without_the_variation_is_told() -> None:
    assert judge(built(), built("clock", source="usual"), ("clock",)).ineffective == ("source",)


def test_a_missing_probe_is_a_difference_that_nobody_asked_for() -> None:
    whole = built()
    torn = Built(whole.packages[1:], whole.srpm, 1.0)
    assert judge(whole, torn, ()).leaked == (NAMES[0],)


def test_the_probe_has_a_package_for_each_variation() -> None:
    text = spec(1_800_000_000)
    for name in NAMES:
        assert f"%package {name}\n" in text
        assert f"$place/{name}\n" in text
        assert (f"%global start_{name} " in text) == (name in SEEN_BY_RPM)
    assert "@WRITTEN@" not in text
    assert text.count("%changelog") == 1


def test_native_tools_are_recorded_package_by_package(tmp_path: Path) -> None:
    (tmp_path / "packages.json").write_text(
        '[{"name": "make", "version": "4.4.1-2", "sha256": "ab", "origin": "archive"}]'
    )
    assert native.record(tmp_path) == (("native:make 4.4.1-2", "ab"),)


def test_native_tools_that_do_not_say_what_they_are_made_of_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MachineError) as refused:
        native.record(tmp_path)
    assert "native_tools" in refused.value.hint
