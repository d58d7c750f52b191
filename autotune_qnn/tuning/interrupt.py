"""Ctrl-C and SIGTERM: the first asks the run to stop, the second insists."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any


class StopRequest:
    """A context manager that turns signals into a flag. Outside the main thread it only holds the flag."""

    def __init__(self) -> None:
        """No signal has come yet."""
        self.requested = False
        self._previous: dict[int, Any] = {}

    def request(self) -> None:
        """Ask the run to stop as a signal would."""
        self.requested = True

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()
