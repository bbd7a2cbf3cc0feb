"""What dnf's words mean, and how the base's repositories are told to it."""

from __future__ import annotations

from configparser import ConfigParser

import pytest

from farm.errors import FarmError, MachineError, PublishError, SolveError, UsageError
from farm.model import Repository
from farm.site.dnf import base_section, explain

SAID = {
    "unknown": (
        "No match for argument: pdsh-mod\nError: Unable to find a match: pdsh-mod mpiblats\n",
        UsageError,
        "mpiblats, pdsh-mod",
    ),
    "stale signature": (
        "Error: Failed to download metadata for repo 'farm': repomd.xml GPG signature "
        "verification error: Bad GPG signature\n",
        PublishError,
        "signature or checksum",
    ),
    "unsigned": (
        "Package hello-1-1.x86_64.rpm is not signed\nError: GPG check FAILED\n",
        PublishError,
        "signature or checksum",
    ),
    "unsolvable": (
        "Error: \n Problem: conflicting requests\n  - nothing provides libx needed by hello\n",
        SolveError,
        "do not fit together",
    ),
    "not served": (
        "Errors during downloading metadata for repository 'farm':\n  - Curl error (7): "
        "Couldn't connect to server\nError: Failed to download metadata for repo 'farm'\n",
        MachineError,
        "could not install",
    ),
}


@pytest.mark.parametrize("name", SAID)
def test_what_dnf_says_becomes_the_error_that_it_means(name: str) -> None:
    said, kind, words = SAID[name]
    error = explain(said, ["hello"])
    assert type(error) is kind
    assert words in error.what
    assert error.hint


def test_the_telling_lines_are_kept_and_the_progress_is_not() -> None:
    noise = "".join(f"  Installing : package-{n}   {n}/99\n" for n in range(60))
    error = explain(f"{noise}Error unpacking rpm package base\n{noise}Error: Transaction failed\n",
                    ["hello"])  # fmt: skip
    assert error.why == "Error unpacking rpm package base\nError: Transaction failed"


def test_words_nobody_knows_are_shown_from_their_end() -> None:
    error: FarmError = explain("\n".join(f"line {n}" for n in range(100)), ["hello"])
    assert error.why.splitlines()[-1] == "line 99"
    assert len(error.why.splitlines()) <= 20


def test_a_base_repository_is_told_with_everything_that_matters() -> None:
    repository = Repository(
        "updates",
        ("http://a/x", "http://b/x"),
        gpgkeys=("file:///key",),
        gpgcheck=True,
        priority=5,
        excludes=("foo*",),
        sslverify=False,
    )
    parser = ConfigParser(interpolation=None)
    parser.read_string(base_section(repository))
    assert dict(parser["updates"]) == {
        "name": "updates",
        "baseurl": "http://a/x http://b/x",
        "gpgkey": "file:///key",
        "gpgcheck": "1",
        "repo_gpgcheck": "0",
        "priority": "5",
        "excludepkgs": "foo*",
        "module_hotfixes": "0",
        "sslverify": "0",
        "enabled": "1",
    }
