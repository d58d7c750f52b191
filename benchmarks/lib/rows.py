"""The rows of a comparison, and what is computed from several of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.lib.networks import network

OURS = "autotune_qnn"
"""How the names of this package's engines begin."""


@dataclass(frozen=True, slots=True)
class Row:
    """One engine on one network, batch and number of threads.

    Milliseconds are of one run; `repeats` measurements of `runs_per_repeat` runs each. `identical` says whether the
    output is the source framework's to the bit, on every input; `agreement` is the share of its elements that are,
    `top1` the share of inputs whose largest element is at the same place. `cores` are CPU seconds over wall seconds.
    `gmacs` are 10⁹ multiply-accumulates a second, `peak_share` that over the machine's measured peak. `best_peer` is
    the fastest engine that is not ours, with its network, among all forms of the architecture in this run, and
    `ratio_to_best_peer` its median over this row's: above 1, this row is faster. `spin_spread` tells how busy the
    machine was: a fixed loop's 90th percentile over its minimum. A row with an `error` has no figures; `absent` says
    that nothing failed: a package, a file, a log is not there, or the engine does not read the model.
    """

    engine: str
    model: str
    threads: int
    batch: int
    median_ms: float | None = None
    p10_ms: float | None = None
    p90_ms: float | None = None
    min_ms: float | None = None
    repeats: int = 0
    runs_per_repeat: int = 0
    identical: bool | None = None
    agreement: float | None = None
    top1: float | None = None
    cores: float | None = None
    gmacs: float | None = None
    peak_share: float | None = None
    best_peer: str | None = None
    ratio_to_best_peer: float | None = None
    spin_spread: float | None = None
    note: str = ""
    error: str = ""
    absent: bool = False

    @property
    def ours(self) -> bool:
        """Whether it is this package."""
        return self.engine.startswith(OURS)

    @property
    def case(self) -> tuple[str, int, int]:
        """Network, threads and batch: rows of one case were measured in turns."""
        return self.model, self.threads, self.batch

    @property
    def race(self) -> tuple[str, int, int]:
        """Architecture, threads and batch: the fastest peer is looked for in here."""
        return network(self.model).architecture, self.threads, self.batch


@dataclass(frozen=True, slots=True)
class Machine:
    """What was measured on: CPU, versions of the packages, and by number of threads the peak in GMAC/s, with the
    instruction that reaches it.
    """

    cpu: str
    target: str
    versions: Mapping[str, str]
    instruction: str = ""
    peaks: Mapping[int, float] = field(default_factory=dict)


def completed(rows: Iterable[Row], peaks: Mapping[int, float]) -> list[Row]:
    """The rows with what follows from each other and from the machine's peak."""
    rows = list(rows)
    fastest: dict[tuple[str, int, int], Row] = {}
    for row in rows:
        if row.median_ms is not None and not row.ours:
            best = fastest.get(row.race)
            if best is None or best.median_ms is None or row.median_ms < best.median_ms:
                fastest[row.race] = row
    return [_completed(row, fastest.get(row.race), peaks.get(row.threads)) for row in rows]


def _completed(row: Row, best: Row | None, peak: float | None) -> Row:
    if row.median_ms is None:
        return row
    share = None if row.gmacs is None or not peak else round(row.gmacs / peak, 4)
    if best is None or best.median_ms is None:
        return dataclasses.replace(row, peak_share=share)
    return dataclasses.replace(
        row,
        peak_share=share,
        best_peer=f"{best.engine} ({best.model})",
        ratio_to_best_peer=round(best.median_ms / row.median_ms, 4),
    )


def failures(rows: Sequence[Row]) -> list[str]:
    """What went wrong with this package, a line each: a row without figures, or another output than the framework's."""
    told = []
    for row in rows:
        where = f"{row.engine}, {row.model}, batch {row.batch}, {row.threads} thread(s)"
        if row.ours and row.error and not row.absent:
            told.append(f"{where}: {row.error}")
        elif row.ours and row.median_ms is not None and not row.identical:
            told.append(f"{where}: the output is not the framework's")
    return told


def to_records(rows: Iterable[Row], machine: Machine) -> list[dict[str, Any]]:
    """The rows as JSON objects, each with what it was measured on."""
    return [
        {
            **dataclasses.asdict(row),
            "cpu": machine.cpu,
            "target": machine.target,
            "peak_gmacs": machine.peaks.get(row.threads),
        }
        for row in rows
    ]
