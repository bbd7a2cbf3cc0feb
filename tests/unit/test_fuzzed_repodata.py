"""Repodata altered at random, with right checksums: an answer or an error, and no lock in vain."""

from __future__ import annotations

from pathlib import Path

from tests.hostile import repodata
from tests.mutations import WANTED, altered, unfulfilled, valid, wrong_answers
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


def test_a_seed_alters_always_in_the_same_way(tmp_path: Path) -> None:
    parts = valid(tmp_path / "valid")
    results = [altered(parts, seed) for seed in range(50)]
    assert results == [altered(parts, seed) for seed in range(50)]
    assert sum(result != parts for result in results) > 40
