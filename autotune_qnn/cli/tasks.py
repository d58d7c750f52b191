"""The --tasks option: the list of a model's tasks, and a choice among them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from autotune_qnn.errors import UsageError
from autotune_qnn.logs import LogStore
from autotune_qnn.tuning.protocols import KnownTask

T = TypeVar("T")


def select_tasks(tasks: Sequence[T], text: str | None) -> tuple[T, ...]:
    """The tasks whose numbers stand in `text` ("0,2-5"), in the model's order; all of them for None.

    Raises UsageError for anything that is not a number, or a range, of a task that there is.
    """
    if text is None:
        return tuple(tasks)
    chosen: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not _is_number(first) or (dash and not _is_number(last)):
            raise UsageError(
                f'--tasks {text!r}: {part!r} is neither a number nor a range; write "list" or "0,2-5"'
            )
        low, high = int(first), int(last or first)
        if low > high or high >= len(tasks):
            raise UsageError(
                f"--tasks {text!r}: the model has tasks 0 to {len(tasks) - 1}, not {part.strip()}"
            )
        chosen.update(range(low, high + 1))
    return tuple(task for number, task in enumerate(tasks) if number in chosen)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 8


def task_table(tasks: Sequence[KnownTask], store: LogStore | None) -> str:
    """The tasks, one a line: number, how often, million MACs, trials in the log, best latency, name."""
    rows = [("task", "times", "MMAC", "trials", "best µs", "kind", "name")]
    for number, task in enumerate(tasks):
        best = None if store is None else store.best(task.key)
        rows.append(
            (
                str(number),
                str(task.weight),
                f"{task.macs / 1e6:.2f}",
                "0" if store is None else str(store.count(task.key)),
                "-" if best is None else f"{best.seconds * 1e6:.1f}",
                task.kind,
                task.name,
            )
        )
    widths = [max(len(row[place]) for row in rows) for place in range(6)]
    return "\n".join(
        "  ".join([*(cell.rjust(width) for cell, width in zip(row[:6], widths, strict=True)), row[6]])
        for row in rows
    )
