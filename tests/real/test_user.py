"""As an ordinary user without sudo: the same commands, the same bytes as root's."""

from __future__ import annotations

import os
import pwd
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

import farm
from farm.config import load
from farm.run import Completed, run
from tests.real.publishing import DEMO_KEY
from tests.real.site import HERE, Site

pytestmark = pytest.mark.real

USER = "farm-test"
PYTHON = Path("/usr/bin/python3")


def why_not() -> str:
    """Why this machine cannot try an ordinary user, or ""."""
    if os.getuid() != 0:
        return "these tests run as an ordinary user anyway"
    if USER not in {entry.pw_name for entry in pwd.getpwall()}:
        return f"there is no user {USER}; ci/test makes one"
    say = "import sys; print(*sys.version_info[:2])"
    theirs = run([PYTHON, "-c", say], check=False).stdout.split()
    if theirs != [str(part) for part in sys.version_info[:2]]:
        return f"{PYTHON} cannot load the libraries of this Python"
    return ""


@pytest.fixture
def home() -> Iterator[Path]:
    """A directory of that user's, with farm, its libraries and the base where he can read them."""
    if why_not():
        pytest.skip(why_not())
    place = Path(tempfile.mkdtemp(prefix="farm-user-"))
    try:
        place.chmod(0o755)
        libraries = Path(msgspec.__file__).parents[1]
        ours = Path(farm.__file__).parent
        for source in (ours, libraries):
            shutil.copytree(source, place / source.name, symlinks=True)
        base = load(HERE).base_directory / "debian-13"
        (place / "cache" / "base").mkdir(parents=True)
        copy = ["cp", "-a", str(base), str(place / "cache" / "base")]
        if not run([*copy, "--link"], check=False).ok:  # another file system
            run(copy)
        shutil.copyfile(DEMO_KEY, place / "key.asc")
        run(["chown", f"{USER}:", place, place / "cache", place / "cache" / "base"])
        yield place
    finally:
        as_user(place, "find . -user $(id -un) -delete", check=False)
        shutil.rmtree(place, ignore_errors=True)


def as_user(place: Path, script: str, *, check: bool = True) -> Completed:
    """Run a script as that user, in `place`, with nothing of root's."""
    words = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--init-groups", "env", "-i"]
    words += [f"HOME={place}", "PATH=/usr/bin:/bin", f"PYTHONPATH={place / 'site-packages'}"]
    words += [f"FARM_PATHS_CACHE={place / 'cache'}", f"farm={PYTHON} -P -m farm -C {place}/layer"]
    done = run([*words, "sh", "-euc", script], cwd=place, check=False, timeout=900)
    assert done.ok or not check, done.stdout + done.stderr
    return done


def test_an_ordinary_user_builds_the_same_bytes_for_both_architectures(
    home: Path, tmp_path: Path
) -> None:
    roots = Site.make(tmp_path / "layer")
    shutil.copytree(roots.root, home / "layer", ignore=shutil.ignore_patterns(".farm"))
    shutil.copytree(home / "farm", home / "site-packages" / "farm", dirs_exist_ok=True)
    run(["chown", "-R", f"{USER}:", home / "layer"])
    as_user(home, "$farm key import key.asc; $farm build --all; $farm publish")
    roots.farm("build", "--all")
    roots.farm("publish")
    theirs = Site(home / "layer", roots.port)
    assert set(theirs.packages()) == set(roots.packages())
    assert theirs.packages() == roots.packages()


def test_doctor_finds_nothing_missing_for_an_ordinary_user(home: Path) -> None:
    shutil.copytree(HERE / "chroots", home / "layer" / "chroots")
    shutil.copytree(home / "farm", home / "site-packages" / "farm", dirs_exist_ok=True)
    run(["chown", "-R", f"{USER}:", home / "layer"])
    done = as_user(home, "$farm doctor")
    assert "MISSING" not in done.stdout
    assert f"{USER} has" in done.stdout
