"""The store of tuning records: a folder a target and model, JSON Lines files, safe against kills and second
writers.

A file holds a header and the records measured under it. Records are appended, one `write` a line, under an
exclusive file lock, and synced before the next trial starts: a killed run loses at most the trial in flight.
A torn last line (a kill or a full disk in the middle of a write) is removed when the file is next opened for
writing and skipped when it is read; damaged lines elsewhere are skipped and counted.

Conditions that make figures incomparable (CPU model, threads, arithmetic) go to files of their own in the
same folder: `records.jsonl` for the first, `records-<digest>.jsonl` for the others.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from autotune_qnn.errors import LogStoreError
from autotune_qnn.logs.schema import (
    MAX_LINE_BYTES,
    Confirmation,
    LogHeader,
    RecordError,
    Status,
    TrialRecord,
    parse_line,
)

MAX_FILE_BYTES = 1 << 30
"""Largest log that is read; some million trials."""

_PRIMARY = "records.jsonl"
_SLUG_LENGTH = 80
_SAME_TIME = 2e-3
_HEADER_START = b'{"type":"header",'
_LOGGER = logging.getLogger(__name__)


def _slug(text: str) -> str:
    """A readable folder name without separators; cut names end in a digest of the whole."""
    plain = re.sub(r"[^A-Za-z0-9._+]+", "-", text).strip("-.") or "unnamed"
    if len(plain) <= _SLUG_LENGTH:
        return plain
    return f"{plain[: _SLUG_LENGTH - 9]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def log_folder(log_dir: Path, target: str, model: str) -> Path:
    """The folder of a target's and model's records under `log_dir`."""
    return log_dir / _slug(target) / _slug(model)


class LogStore:
    """The records of one target and model under one set of conditions; see the module's text for its
    promises.
    """

    def __init__(self, path: Path, header: LogHeader, descriptor: int | None) -> None:
        """Use `LogStore.open`. `descriptor` is the file opened for appending, None for a store that only
        reads.
        """
        self.path = path
        self.header = header
        self.ignored = 0
        self._descriptor = descriptor
        self._records: dict[str, list[TrialRecord]] = {}
        self._total = 0
        self._next_trial = 0

    @classmethod
    def open(
        cls, log_dir: Path, target: str, model: str, header: LogHeader, *, create: bool = True
    ) -> LogStore:
        """Open (with `create`, make) the store for `header`'s conditions and read every record.

        `target` is the canonical target string. With `create=False` nothing on disk is changed, and records
        of another CPU or arithmetic of the same target serve where there are none for this one. Raises
        LogStoreError when the folder cannot be used, holds nothing to read, or a file belongs to another
        target, schema or TVM.
        """
        header = replace(header, target=target)
        folder = log_folder(Path(log_dir), target, model)
        if not create:
            return cls._open_reader(folder, header)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LogStoreError(
                f"the log folder {folder} cannot be made: {error.strerror}; choose another with --log-dir"
            ) from None
        with _folder_lock(folder):
            return cls._open_writer(folder, header)

    @classmethod
    def read(cls, path: Path) -> LogStore:
        """One file as it stands, whatever its conditions, open for reading only. Raises LogStoreError when it is
        no log that this package reads.
        """
        header = _first_header(path)
        if header is None:
            raise LogStoreError(f"{path} has no header on its first line: it is not a tuning log")
        store = cls(path, header, None)
        store._read()
        return store

    @classmethod
    def _open_writer(cls, folder: Path, header: LogHeader) -> LogStore:
        path = _matching_file(folder, header) or _new_file(folder, header)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise LogStoreError(
                f"the log {path} cannot be written: {error.strerror}; choose another folder with --log-dir"
            ) from None
        store = cls(path, header, descriptor)
        try:
            with _locked(descriptor, path):
                _repair(descriptor, path)
                if os.fstat(descriptor).st_size == 0:
                    store._write_line(header.to_json().encode())
                store._read()
        except BaseException:
            store.close()
            raise
        return store

    @classmethod
    def _open_reader(cls, folder: Path, header: LogHeader) -> LogStore:
        candidates = _log_files(folder)
        if not candidates:
            raise LogStoreError(f"there is no tuning log in {folder}; tune first, or pass --log-dir")
        path = _matching_file(folder, header) or _nearest_file(candidates, header)
        store = cls(path, header, None)
        store._read()
        return store

    def _read(self) -> None:
        found: LogHeader | None = None
        for number, line in _lines(self.path):
            try:
                entry = parse_line(line)
            except RecordError as error:
                if number == 1:
                    raise LogStoreError(f"{self.path}, line 1, is not a log header: {error}") from None
                self.ignored += 1
                continue
            if isinstance(entry, LogHeader):
                found = found or entry
            elif isinstance(entry, Confirmation):
                self._confirm(entry)
            elif found is not None:
                self._add(entry)
        if found is None:
            raise LogStoreError(f"{self.path} has no header on its first line: it is not a tuning log")
        self._check(found)
        self.header = found
        if self.ignored:
            _LOGGER.warning("%s: %d damaged lines ignored", self.path, self.ignored)

    def _check(self, found: LogHeader) -> None:
        wanted = self.header
        for name, here, there in (
            ("target", wanted.target, found.target),
            ("TVM version", wanted.tvm_version, found.tvm_version),
        ):
            if here != there:
                raise LogStoreError(
                    f"the log {self.path} belongs to another {name}: {there!r:.200}, "
                    f"and this run has {here!r:.200}; choose another folder with --log-dir"
                )

    def _add(self, record: TrialRecord) -> None:
        self._records.setdefault(record.task_key, []).append(record)
        self._total += 1
        self._next_trial = max(self._next_trial, record.trial + 1)

    def _confirm(self, confirmation: Confirmation) -> None:
        """Attach a comparison's verdict to its trial, if the log holds it."""
        records = self._records.get(confirmation.task_key, [])
        for place, record in enumerate(records):
            same_time = abs(record.timestamp - confirmation.trial_time) < _SAME_TIME
            if record.trial == confirmation.trial and same_time:
                records[place] = replace(record, confirmation=confirmation)
                return

    def confirm(self, confirmation: Confirmation) -> None:
        """Write a comparison's verdict on a trial of this log. Raises LogStoreError when that fails."""
        if self._descriptor is None:
            raise LogStoreError(f"the log {self.path} is open for reading only")
        with _locked(self._descriptor, self.path):
            self._write_line(confirmation.to_json().encode())
        self._confirm(confirmation)

    def append(self, record: TrialRecord) -> None:
        """Write one record and sync it to disk. Raises LogStoreError when that fails; the record is then
        not kept.
        """
        if self._descriptor is None:
            raise LogStoreError(f"the log {self.path} is open for reading only")
        line = record.to_json().encode()
        if len(line) > MAX_LINE_BYTES:
            line = replace(record, trace=None, error="the trace is too large to store").to_json().encode()
        with _locked(self._descriptor, self.path):
            self._write_line(line)
        self._add(record)

    def _write_line(self, line: bytes) -> None:
        assert self._descriptor is not None
        data = line + b"\n"
        try:
            if not _ends_in_newline(self._descriptor):
                data = b"\n" + data
            written = os.write(self._descriptor, data)
            os.fsync(self._descriptor)
        except OSError as error:
            raise LogStoreError(f"the log {self.path} cannot be written: {error.strerror}") from None
        if written != len(data):
            raise LogStoreError(f"the log {self.path} took {written} of {len(data)} bytes: the disk is full")

    def records(self, key: str | None = None) -> tuple[TrialRecord, ...]:
        """Every record of a task in the order written, or of all tasks without a key."""
        if key is not None:
            return tuple(self._records.get(key, ()))
        return tuple(record for records in self._records.values() for record in records)

    def best(self, key: str) -> TrialRecord | None:
        """The record of a task to build with, or None: see `ranked`."""
        return next(iter(self.ranked(key)), None)

    def ranked(self, key: str) -> list[TrialRecord]:
        """The records of a task that ran and gave the right result: first those that the last comparison confirmed,
        in its order, then the others, the fastest first.
        """
        good = [record for record in self._records.get(key, ()) if record.status is Status.OK]
        return sorted(good, key=lambda record: record.standing)

    def count(self, key: str) -> int:
        """How many trials of a task the log holds, whatever their status."""
        return len(self._records.get(key, ()))

    def task_keys(self) -> tuple[str, ...]:
        """The tasks that the log holds records of."""
        return tuple(self._records)

    def next_trial(self) -> int:
        """The number for the next record."""
        return self._next_trial

    def __len__(self) -> int:
        return self._total

    def close(self) -> None:
        """Close the file; records read so far stay available."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> LogStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _log_files(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.glob("records*.jsonl") if path.is_file())
    except OSError as error:
        raise LogStoreError(f"the log folder {folder} cannot be read: {error.strerror}") from None


def _conditions(header: LogHeader) -> tuple[str, int, str]:
    return header.cpu, header.threads, header.arithmetic


def _first_header(path: Path) -> LogHeader | None:
    """The header of a log; None where the file is empty or torn in its first line."""
    for _, line in _lines(path):
        try:
            entry = parse_line(line)
        except RecordError as error:
            raise LogStoreError(f"{path}, line 1, is not a log header: {error}") from None
        if not isinstance(entry, LogHeader):
            raise LogStoreError(f"{path} has no header on its first line: it is not a tuning log")
        return entry
    return None


def _matching_file(folder: Path, header: LogHeader) -> Path | None:
    """The file whose conditions are the header's; an empty or torn file, which has none yet, will do."""
    for path in _log_files(folder):
        found = _first_header(path)
        if found is None or _conditions(found) == _conditions(header):
            return path
    return None


def _nearest_file(paths: list[Path], header: LogHeader) -> Path:
    """Of files with other conditions, one with the same arithmetic and threads if there is one."""

    def distance(path: Path) -> tuple[bool, bool, str]:
        found = _first_header(path)
        if found is None:
            return True, True, path.name
        return found.arithmetic != header.arithmetic, found.threads != header.threads, path.name

    path = min(paths, key=distance)
    _LOGGER.warning("%s was measured under other conditions than this machine's", path)
    return path


def _new_file(folder: Path, header: LogHeader) -> Path:
    if not (folder / _PRIMARY).exists():
        return folder / _PRIMARY
    digest = hashlib.sha256("\n".join(map(str, _conditions(header))).encode()).hexdigest()[:10]
    return folder / f"records-{digest}.jsonl"


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Numbered complete lines of a file; a last line without a newline is torn and left out."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > MAX_FILE_BYTES:
                raise LogStoreError(f"the log {path} has {size} bytes; at most {MAX_FILE_BYTES} are read")
            number = 0
            while line := file.readline(MAX_LINE_BYTES + 1):
                if not line.endswith(b"\n"):
                    if len(line) > MAX_LINE_BYTES:
                        raise LogStoreError(
                            f"{path}, line {number + 1}, is longer than {MAX_LINE_BYTES} bytes"
                        )
                    return
                number += 1
                yield number, line
    except OSError as error:
        raise LogStoreError(f"the log {path} cannot be read: {error.strerror}") from None


@contextmanager
def _locked(descriptor: int, path: Path) -> Iterator[None]:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError as error:
        raise LogStoreError(f"the log {path} cannot be locked: {error.strerror}") from None
    try:
        yield
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_UN)


@contextmanager
def _folder_lock(folder: Path) -> Iterator[None]:
    """Hold the folder, so that two runs that start together agree on which file is whose."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise LogStoreError(f"the log folder {folder} cannot be used: {error.strerror}") from None
    try:
        with _locked(descriptor, folder):
            yield
    finally:
        os.close(descriptor)


def _ends_in_newline(descriptor: int) -> bool:
    size = os.fstat(descriptor).st_size
    return size == 0 or os.pread(descriptor, 1, size - 1) == b"\n"


def _repair(descriptor: int, path: Path) -> None:
    """Cut a torn last line off. Called under the lock, so that nobody is in the middle of writing it."""
    if _ends_in_newline(descriptor):
        return
    size = os.fstat(descriptor).st_size
    tail = os.pread(descriptor, MAX_LINE_BYTES + 1, max(0, size - MAX_LINE_BYTES - 1))
    keep = size - len(tail) + tail.rfind(b"\n") + 1 if b"\n" in tail else 0
    if keep == 0 and (size > MAX_LINE_BYTES or not tail.startswith(_HEADER_START[: len(tail)])):
        raise LogStoreError(f"{path} has no header on its first line: it is not a tuning log")
    _LOGGER.warning("%s ended in the middle of a line: %d bytes removed, the rest kept", path, size - keep)
    os.ftruncate(descriptor, keep)
