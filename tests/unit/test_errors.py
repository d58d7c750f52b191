from __future__ import annotations

import pytest

from autotune_qnn.errors import first_line, last_line


@pytest.mark.parametrize(
    ("error", "first", "last"),
    [
        (ValueError("\n  what was wrong\n\n  where  \n"), "what was wrong", "where"),
        (RuntimeError("one line"), "one line", "one line"),
        (MemoryError(), "MemoryError", "MemoryError"),
        (EOFError(" \n"), "EOFError", "EOFError"),
    ],
)
def test_lines_that_say_something(error: Exception, first: str, last: str) -> None:
    assert first_line(error) == first
    assert last_line(error) == last
