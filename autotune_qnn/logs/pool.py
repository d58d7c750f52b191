"""What other logs know: those of other models, and those that the project ships.

A task is the same wherever its key is the same, so that its best schedule may come from any log of the same kind of
target, TVM and number of threads. Figures of another CPU are no figures of this one: such records come last. Those of
another kind of CPU are for searches to try, and no reason to build with anything but the default schedule.
"""

from __future__ import annotations

import heapq
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from autotune_qnn.errors import LogStoreError
from autotune_qnn.logs.schema import LogHeader, Status, TrialRecord
from autotune_qnn.logs.store import LogStore

_LOGGER = logging.getLogger(__name__)
_REPEATS = 5
_POORER = 6
"""How many slower records go with a task's leaders: a cost model learns from what differs."""
_PACKAGE = Path(__file__).resolve().parents[1]


def shipped_logs() -> Path | None:
    """The folder of logs that come with the project: in the installed package, or in the clone."""
    folders = (_PACKAGE / "shipped_logs", _PACKAGE.parent / "tuning_logs" / "shipped")
    return next((folder for folder in folders if folder.is_dir()), None)


class RecordPool:
    """Logs of other models and machines, the most comparable first; see `open`."""

    def __init__(self, logs: Sequence[LogStore], header: LogHeader, alike: Callable[[str], bool]) -> None:
        """`header` states the conditions that the logs are compared with; `alike` is that of `open`."""
        self.logs = tuple(logs)
        self._header = header
        self._alike = alike

    @classmethod
    def open(
        cls,
        roots: Sequence[Path],
        header: LogHeader,
        usable: Callable[[str], bool],
        alike: Callable[[str], bool],
        own: Path | None = None,
    ) -> RecordPool:
        """Read every log under the log folders `roots` with the header's TVM version and threads.

        `usable` says of a canonical target whether its kernels are the same as this target's, `alike` of a CPU's name
        whether it is of the kind that kernels are built for; `own` is a log to leave out. Logs that cannot be read are
        passed over with a warning.
        """
        found = []
        for root in dict.fromkeys(roots):
            for path in sorted(root.glob("*/*/records*.jsonl")):
                if own is not None and path.exists() and own.exists() and path.samefile(own):
                    continue
                log = _read(path)
                if log is not None and _fits(log.header, header) and usable(log.header.target):
                    found.append(log)
        return cls(sorted(found, key=lambda log: cls._distance(log.header, header)), header, alike)

    @staticmethod
    def _distance(found: LogHeader, wanted: LogHeader) -> tuple[bool, bool]:
        return found.cpu != wanted.cpu, found.target != wanted.target

    def comparable(self, log: LogStore) -> bool:
        """Whether a log's figures are figures of this CPU and target."""
        return self._distance(log.header, self._header) == (False, False)

    def alike(self, log: LogStore) -> bool:
        """Whether a log is of the kind of CPU that kernels are built for."""
        return self._alike(log.header.cpu)

    def __len__(self) -> int:
        return sum(len(log) for log in self.logs)

    def ranked(self, key: str, own: Sequence[TrialRecord] = ()) -> list[TrialRecord]:
        """The good records of a task, the one to build with first: `own` and those of comparable logs by their
        seconds, then those of other targets and CPUs. Records of other logs without a trace only teach cost models,
        and are left out.
        """
        return self._merged(key, self.logs, own)

    def to_build(self, key: str, own: Sequence[TrialRecord] = ()) -> list[TrialRecord]:
        """Those of `ranked` that come before the default schedule without being measured here: `own`, and of CPUs of
        the kind that kernels are built for.
        """
        return self._merged(key, [log for log in self.logs if self.alike(log)], own)

    def _merged(self, key: str, logs: Sequence[LogStore], own: Sequence[TrialRecord]) -> list[TrialRecord]:
        near = [_with_trace(log.ranked(key)) for log in logs if self.comparable(log)]
        far = [_with_trace(log.ranked(key)) for log in logs if not self.comparable(log)]
        merged = list(heapq.merge(own, *near, key=_seconds))
        return [*merged, *(record for records in far for record in records)]

    def same(self, key: str) -> list[tuple[TrialRecord, bool]]:
        """Every record of a task with features or a configuration, and whether its figures hold here."""
        return [(record, self.comparable(log)) for log in self.logs for record in log.records(key)]


def _with_trace(records: Sequence[TrialRecord]) -> list[TrialRecord]:
    return [record for record in records if record.trace is not None]


def _seconds(record: TrialRecord) -> float:
    if record.status is not Status.OK:
        return math.inf
    return min(record.confirmation.run_secs) if record.confirmation else record.seconds


def _read(path: Path) -> LogStore | None:
    try:
        return LogStore.read(path)
    except LogStoreError as error:
        _LOGGER.warning("%s", error)
        return None


def _fits(found: LogHeader, wanted: LogHeader) -> bool:
    return (found.tvm_version, found.threads) == (wanted.tvm_version, wanted.threads)


def write_leaders(log: LogStore, folder: Path, keep: int) -> Path:
    """Write a log with only the best `keep` records of each task (and of their repeats the smallest, which count) and a
    few slower ones without their schedules under `folder`, in place of one under the same conditions; returns its
    path. Raises LogStoreError when that fails.
    """
    with LogStore.open(folder, log.header.target, log.header.model, log.header) as target:
        path = target.path
    lines = [log.header.to_json()]
    for key in sorted(log.task_keys()):
        ranked = log.ranked(key)
        for record in ranked[:keep]:
            lines.append(replace(record, run_secs=tuple(sorted(record.run_secs)[:_REPEATS])).to_json())
            if record.confirmation is not None:
                seconds = tuple(sorted(record.confirmation.run_secs)[:_REPEATS])
                lines.append(replace(record.confirmation, run_secs=seconds).to_json())
        lines.extend(record.to_json() for record in _poorer(ranked, keep))
    temporary = path.with_suffix(".new")
    try:
        temporary.write_text("\n".join(lines) + "\n", encoding="ascii")
        temporary.replace(path)
    except OSError as error:
        raise LogStoreError(f"the log {path} cannot be written: {error.strerror}") from None
    return path


def _poorer(ranked: Sequence[TrialRecord], keep: int) -> list[TrialRecord]:
    """Up to `_POORER` records slower than the first `keep`, evenly from all over their order, the slowest among them:
    what a cost model sees of them and their shortest repeat.
    """
    limit = max((max(_seconds(record), record.seconds) for record in ranked[:keep]), default=0.0)
    slower = [record for record in ranked[keep:] if record.features and record.seconds > limit]
    slower.sort(key=lambda record: record.seconds)
    count = min(_POORER, len(slower))
    places = [(place + 1) * len(slower) // count - 1 for place in range(count)]
    return [replace(slower[place], trace=None, run_secs=(slower[place].seconds,)) for place in places]
