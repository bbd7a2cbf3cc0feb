"""Tables fit the terminal that they are shown on."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from farm.screens.text import table

_HEADINGS = ("package", "reason")
_ROWS = [("munge", "openssl-devel was published with other bytes: counter 3"), ("a", "never built")]


def test_without_a_terminal_a_table_is_as_wide_as_its_cells() -> None:
    drawn = table(_HEADINGS, _ROWS).splitlines()
    assert len(drawn) == 4
    assert drawn[2].endswith("counter 3")


def test_on_a_narrow_terminal_the_last_column_is_folded_below_itself() -> None:
    _, line, *rows = table(_HEADINGS, _ROWS, width=40).splitlines()
    assert line == "-------  " + "-" * 31
    assert rows == [
        "munge    openssl-devel was published",
        "         with other bytes: counter 3",
        "a        never built",
    ]


def test_where_nothing_could_be_read_any_more_the_terminal_folds_it() -> None:
    assert table(_HEADINGS, _ROWS, width=20) == table(_HEADINGS, _ROWS)


@given(
    st.lists(st.tuples(st.text("ab", max_size=9), st.text("cd -", max_size=99)), max_size=5),
    st.integers(40, 120),
)
def test_no_line_is_wider_than_the_terminal_and_no_word_is_lost(
    rows: list[tuple[str, str]], width: int
) -> None:
    drawn = table(_HEADINGS, rows, width=width)
    assert all(len(line) <= width for line in drawn.splitlines())
    letters = "".join(drawn.split()).replace("-", "")
    assert sorted(letters) == sorted(
        "".join("".join((*_HEADINGS, *(cell for row in rows for cell in row))).split()).replace(
            "-", ""
        )
    )
