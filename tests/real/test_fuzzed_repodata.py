"""Repodata altered at random, thousands of times: an answer or an error, and no lock in vain."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutations import wrong_answers
from tests.verdicts import child

pytestmark = [pytest.mark.real, pytest.mark.soak]


@pytest.mark.parametrize("start", range(1000, 21_000, 1000))
def test_altered_repodata_is_answered_or_refused(tmp_path: Path, start: int) -> None:
    with child() as one:
        wrong = list(wrong_answers(one, tmp_path, range(start, start + 1000)))
    assert not wrong, "\n".join(wrong)
