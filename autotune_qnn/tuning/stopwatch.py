"""How long each phase of a run takes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch:
    """Seconds by phase, summed over whatever threads are at work on it."""

    def __init__(self, *phases: str) -> None:
        """Every phase begins with none."""
        self.seconds = dict.fromkeys(phases, 0.0)
        self._lock = threading.Lock()

    def add(self, phase: str, seconds: float) -> None:
        """Count time that was taken elsewhere."""
        with self._lock:
            self.seconds[phase] += seconds

    @contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        """Around work that belongs to a phase, also where it fails."""
        start = time.monotonic()
        try:
            yield
        finally:
            self.add(phase, time.monotonic() - start)
