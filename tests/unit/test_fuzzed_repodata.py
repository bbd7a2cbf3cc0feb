"""Repodata altered at random, with right checksums: an answer or an error, and no lock in vain."""

from __future__ import annotations

import contextlib
from pathlib import Path

from farm.errors import RepositoryError
from farm.plan.metadata.repodata import fetch_pin, parse_metalink
from tests.hostile import repodata
from tests.mutations import WANTED, altered, altered_bytes, unfulfilled, valid, wrong_answers
from tests.repositories import repository
from tests.verdicts import Question, Verdict, child


def test_what_is_not_altered_is_solved(tmp_path: Path) -> None:
    parts = valid(tmp_path / "valid")
    base = repodata(tmp_path / "base", parts)
    with child() as one:
        for wanted in WANTED:
            site = any(text.startswith("@") for text in wanted)
            answer = one.ask(Question((repository(base),), tmp_path, wanted, site=site))
            assert answer.kind == "lock", answer
            assert unfulfilled(parts, answer) == ""


def test_a_lock_without_what_it_needs_is_noticed(tmp_path: Path) -> None:
    parts = valid(tmp_path / "valid")
    assert "cap(x)" in unfulfilled(parts, Verdict("lock", "app-1:2-3.x86_64"))
    assert "not in its metadata" in unfulfilled(parts, Verdict("lock", "gone-1-1.x86_64"))


def test_altered_repodata_is_answered_or_refused(tmp_path: Path) -> None:
    with child() as one:
        wrong = list(wrong_answers(one, tmp_path, range(200)))
    assert not wrong, "\n".join(wrong)


def test_an_altered_repomd_is_a_pin_or_refused(tmp_path: Path) -> None:
    base = repodata(tmp_path / "base", valid(tmp_path / "valid"))
    file = base / "repodata/repomd.xml"
    whole = file.read_bytes()
    pinned = 0
    for seed in range(300):
        file.write_bytes(altered_bytes(whole, seed))
        with contextlib.suppress(RepositoryError):
            pin = fetch_pin(repository(base), tmp_path / "pin")
            pinned += all(pin.path(file).is_file() for file in pin.files)
    assert 0 < pinned < 200


def test_an_altered_list_of_mirrors_is_a_list_or_refused() -> None:
    url = '<url preference="{0}">https://{0}.example/x/repodata/repomd.xml</url>'
    whole = (
        '<?xml version="1.0"?><metalink xmlns="http://www.metalinker.org/"><files>'
        f'<hash type="sha256">{"a" * 64}</hash>{"".join(url.format(n) for n in (10, 90, 50))}'
        "</files></metalink>"
    ).encode()
    read = 0
    for seed in range(2000):
        with contextlib.suppress(ValueError):
            bases, sums = parse_metalink(altered_bytes(whole, seed))
            assert all(base.startswith(("https://", "http://", "file://")) for base in bases)
            read += bool(bases and sums)
    assert 0 < read < 2000


def test_a_seed_alters_always_in_the_same_way(tmp_path: Path) -> None:
    parts = valid(tmp_path / "valid")
    results = [altered(parts, seed) for seed in range(50)]
    assert results == [altered(parts, seed) for seed in range(50)]
    assert sum(result != parts for result in results) > 40
