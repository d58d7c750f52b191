"""The parent's side of a worker process: start, ask with a deadline, kill, start again."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from autotune_qnn.errors import BuildError
from autotune_qnn.tuning.worker import read_message, summary_of, write_message

_START_TIMEOUT = 180.0
_STDERR_TAIL = 4000


class WorkerTimeout(Exception):  # noqa: N818 - an outcome of a trial
    """The worker did not answer in time; it has been killed and starts afresh with the next request."""


class WorkerCrash(Exception):  # noqa: N818 - an outcome of a trial
    """The worker died; it starts afresh with the next request. The message says of what."""


class WorkerFailure(Exception):  # noqa: N818 - an outcome of a trial
    """The worker answered with an error of the request itself."""


class WorkerProcess:
    """One worker of a role of `tuning.worker`, restarted whenever it dies. Used from one thread at a time."""

    def __init__(
        self,
        role: str,
        stderr: Path = Path(os.devnull),
        environment: Mapping[str, str] | None = None,
        *,
        niceness: int = 0,
        cores: Iterable[int] = (),
    ) -> None:
        """`stderr` is a file that takes what the worker prints; `environment` adds to this process's own; `cores`
        are those that it may run on, where not all.
        """
        self._cores = ",".join(map(str, cores))
        self._role = role
        self._stderr = stderr
        self._environment = dict(environment or {})
        self._niceness = niceness
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._closed = False
        self._paused_at: float | None = None
        self._paused_secs = 0.0

    def call(self, request: Any, timeout: float) -> Any:
        """Send a request and return its answer within `timeout` seconds.

        Raises WorkerTimeout, WorkerCrash, or WorkerFailure; BuildError when no worker can be started.
        """
        if self._process is None:
            self._start()
        try:
            write_message(self._writer, request)
        except OSError:
            raise WorkerCrash(self._autopsy()) from None
        kind, value = self._receive(timeout)
        if kind == "error":
            raise WorkerFailure(value)
        return value

    def _start(self) -> None:
        child_read, self_write = os.pipe()
        self_read, child_write = os.pipe()
        with self._lock:
            if self._closed:
                raise WorkerCrash("the run is over")
            with self._stderr.open("wb") as stderr:
                self._process = subprocess.Popen(
                    [
                        *(sys.executable, "-m", "autotune_qnn.tuning.worker", self._role),
                        *(str(child_read), str(child_write), str(self._niceness), self._cores),
                    ],
                    env={**os.environ, **self._environment},
                    stdin=subprocess.DEVNULL,
                    stdout=stderr,
                    stderr=stderr,
                    pass_fds=(child_read, child_write),
                    start_new_session=True,
                )
        os.close(child_read)
        os.close(child_write)
        self._reader = os.fdopen(self_read, "rb", buffering=0)
        self._writer = os.fdopen(self_write, "wb")
        try:
            self._receive(_START_TIMEOUT)
        except (WorkerCrash, WorkerTimeout) as error:
            if self._closed:
                raise
            raise BuildError(f"a tuning process ({self._role}) cannot start: {error}") from None

    def _receive(self, timeout: float) -> tuple[str, Any]:
        deadline = time.monotonic() + timeout - self._paused_so_far()
        while True:
            left = deadline + self._paused_so_far() - time.monotonic()
            if left <= 0:
                self.stop()
                raise WorkerTimeout(f"no answer within {timeout:g} s")
            ready, _, _ = select.select([self._reader], [], [], left)
            if ready:
                break
        try:
            kind, value = read_message(self._reader)
        except (EOFError, OSError):
            raise WorkerCrash(self._autopsy()) from None
        return kind, value

    def pause(self) -> None:
        """Stop the process where it stands until `resume`; the time does not count against a request's deadline.
        May be called from another thread while a call waits.
        """
        with self._lock:
            self._paused_at = time.monotonic()
            self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused process go on."""
        with self._lock:
            if self._paused_at is not None:
                self._paused_secs += time.monotonic() - self._paused_at
                self._paused_at = None
            self._signal(signal.SIGCONT)

    def _paused_so_far(self) -> float:
        with self._lock:
            now = 0.0 if self._paused_at is None else time.monotonic() - self._paused_at
            return self._paused_secs + now

    def _signal(self, number: signal.Signals) -> None:
        process = self._process
        if process is not None and process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)

    def _autopsy(self) -> str:
        """Why the worker died: its signal or exit status, and the end of what it printed."""
        process = self._process
        self.stop()
        if process is None or process.returncode is None:
            return "the worker ended"
        code = process.returncode
        reason = f"exit status {code}"
        if code < 0:
            with contextlib.suppress(ValueError):
                reason = signal.Signals(-code).name
        with contextlib.suppress(OSError):
            tail = self._stderr.read_bytes()[-_STDERR_TAIL:].decode(errors="replace")
            text = summary_of(tail)
            return f"the worker died of {reason}: {text}" if text else f"the worker died of {reason}"
        return f"the worker died of {reason}"

    def stop(self) -> None:
        """End the process, if there is one, with everything that it started; the next call starts another."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(OSError):
            self._writer.close()
        try:
            process.wait(timeout=0.2)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self._reader.close()

    def close(self) -> None:
        """End the process for good. May be called from another thread while a call waits."""
        with self._lock:
            self._closed = True
            process = self._process
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
