"""The rows of `benchmarks/tuning.py run` as Markdown: one line a run, latency against trials and time, growth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

TRIALS = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
SECONDS = (5, 15, 30, 60, 120, 240, 480, 960)
PHASES = ("building", "measuring", "sampling", "model", "verifying", "confirming")

Row = Mapping[str, Any]


def markdown(result: Mapping[str, Any]) -> str:
    """Everything that `run` found."""
    rows: Sequence[Row] = result["rows"]
    title = f"{result['model']}; {result['cpu']}, {result['target']}, {result['threads']} thread(s)"
    parts = [title, _runs(rows)]
    parts.append(
        "Shares are seconds of a phase over seconds of the run; phases overlap, and builders count one by one."
    )
    whole = [row for row in rows if row["tasks"] == max(row["tasks"] for row in rows)]
    parts.append(_curves(whole, "trials", TRIALS))
    parts.append(_curves(whole, "seconds", SECONDS))
    parts.append(_growth(rows))
    return "\n\n".join(part for part in parts if part)


def table_of(head: Sequence[str], lines: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    written = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*written, *("| " + " | ".join(map(str, cells)) + " |" for cells in lines)])


def _runs(rows: Sequence[Row]) -> str:
    head = ["search", "tasks", "trials", "seconds", "trials/s", *PHASES, "MB", "latency ms"]
    return table_of(head, [_run(row) for row in rows])


def _run(row: Row) -> list[object]:
    shares = [f"{row['phase_seconds'][name] / row['seconds']:.0%}" for name in PHASES]
    cells = [row[name] for name in ("search", "tasks", "trials", "seconds", "trials_per_second")]
    return [*cells, *shares, row["peak_memory_mb"], row["latency_ms"]]


def _curves(rows: Sequence[Row], unit: str, marks: Sequence[int]) -> str:
    """Latency of the network (ms) with the best found so far, for the runs with all tasks."""
    reached = [mark for mark in marks if any(str(mark) in row[f"latency_ms_after_{unit}"] for row in rows)]
    if not reached:
        return ""
    head = [f"ms after so many {unit}", *map(str, reached)]
    lines = [
        [row["search"], *(row[f"latency_ms_after_{unit}"].get(str(mark), "") for mark in reached)]
        for row in rows
    ]
    return table_of(head, lines)


def _growth(rows: Sequence[Row]) -> str:
    """How much more of everything the largest number of tasks takes than the smallest, search by search."""
    lines = []
    for search in dict.fromkeys(row["search"] for row in rows):
        own = sorted((row for row in rows if row["search"] == search), key=lambda row: int(row["tasks"]))
        few, many = own[0], own[-1]
        if few["tasks"] == many["tasks"]:
            continue
        cells = [f"{_per_trial(many, name) - _per_trial(few, name):+.0f}" for name in PHASES]
        ratios = [many[name] / few[name] for name in ("tasks", "trials", "seconds", "trials_per_second")]
        extra = (many["peak_memory_mb"] - few["peak_memory_mb"]) / (many["tasks"] - few["tasks"])
        tasks = f"{few['tasks']} to {many['tasks']}"
        lines.append([search, tasks, *(f"x{ratio:.2f}" for ratio in ratios[1:]), *cells, f"{extra:+.1f}"])
    if not lines:
        return ""
    phases = [f"{name}, ms a trial" for name in PHASES]
    return table_of(["growth", "tasks", "trials", "seconds", "trials/s", *phases, "MB a task"], lines)


def _per_trial(row: Row, phase: str) -> float:
    """Milliseconds of a phase a trial."""
    return float(row["phase_seconds"][phase]) * 1e3 / max(1, int(row["trials"]))
