"""The progress of a tuning run on standard error: overall with ETA, the task, its best latency, failures by
kind.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any, TextIO

from tqdm import tqdm

from autotune_qnn.logs import Status, TrialRecord
from autotune_qnn.tuning.protocols import Task

_NAME_LENGTH = 40


def format_seconds(seconds: float) -> str:
    """A latency for people: microseconds below a millisecond."""
    if not math.isfinite(seconds):
        return "-"
    return f"{seconds * 1e6:.1f} µs" if seconds < 1e-3 else f"{seconds * 1e3:.3f} ms"


class NoProgress:
    """Says nothing."""

    def start(self, tasks: Sequence[Task], total: int, done: int) -> None:
        """Nothing."""

    def task(self, name: str) -> None:
        """Nothing."""

    def trial(self, record: TrialRecord, best_secs: float) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class BarProgress:
    """A tqdm bar over all trials; where standard error is no terminal, a line every ten seconds."""

    def __init__(self, stream: TextIO | None = None) -> None:
        """`stream` is standard error unless given."""
        self._stream = stream
        self._bar: Any = None
        self._failures: Counter[Status] = Counter()

    def start(self, tasks: Sequence[Task], total: int, done: int) -> None:
        """Show the bar with what the log already holds."""
        stream = self._stream or sys.stderr
        self._bar = tqdm(
            total=max(total, done),
            initial=done,
            desc=f"tuning {len(tasks)} tasks",
            unit="trial",
            file=stream,
            dynamic_ncols=True,
            mininterval=0.2 if stream.isatty() else 10.0,
            smoothing=0.1,
        )

    def task(self, name: str) -> None:
        """Name the task that candidates are being made for."""
        if self._bar is not None:
            self._bar.set_description_str(name[:_NAME_LENGTH], refresh=False)

    def trial(self, record: TrialRecord, best_secs: float) -> None:
        """Count a trial."""
        if self._bar is None:
            return
        if record.status is not Status.OK:
            self._failures[record.status] += 1
        parts = [f"{record.task_name[:_NAME_LENGTH]} best {format_seconds(best_secs)}"]
        parts.extend(f"{status.value} {count}" for status, count in sorted(self._failures.items()))
        self._bar.set_postfix_str(", ".join(parts), refresh=False)
        self._bar.update(1)

    def close(self) -> None:
        """Leave the last state of the bar on the screen."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
