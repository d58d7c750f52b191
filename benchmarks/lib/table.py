"""Rows as Markdown: a summary, then every case."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from benchmarks.lib.rows import Machine, Row


def markdown(rows: Sequence[Row], machine: Machine) -> str:
    """The whole comparison: `rows` are completed, in the order of the run."""
    parts = [*_head(machine), *_summary(rows)]
    for case in dict.fromkeys(row.case for row in rows):
        parts += _case([row for row in rows if row.case == case])
    return "\n".join(parts) + "\n"


def _head(machine: Machine) -> list[str]:
    peaks = ", ".join(f"{peak:.0f} GMAC/s on {count} thread(s)" for count, peak in machine.peaks.items())
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    return [
        "# Engines on the same networks",
        "",
        f"{machine.cpu}; target {machine.target}. {machine.instruction} alone: {peaks or 'not measured'}. {versions}.",
        "",
        _EXPLANATION,
        "",
    ]


def _summary(rows: Sequence[Row]) -> list[str]:
    """Our fastest engine of each case beside the fastest peer."""
    table = [("network", "batch", "threads", "ours", "ms", "fastest peer", "ms", "× best peer")]
    for case in dict.fromkeys(row.case for row in rows):
        ours = [row for row in rows if row.case == case and row.ours and row.median_ms is not None]
        if not ours:
            continue
        best = min(ours, key=lambda row: row.median_ms or 0.0)
        ratio, median = best.ratio_to_best_peer, best.median_ms or 0.0
        peer = None if ratio is None else ratio * median
        table.append(
            (
                best.model,
                str(best.batch),
                str(best.threads),
                best.engine,
                _number(median, 3),
                best.best_peer or "",
                _number(peer, 3),
                _number(ratio, 2),
            )
        )
    return [*_table(table), ""] if len(table) > 1 else []


def _case(rows: Sequence[Row]) -> list[str]:
    first = rows[0]
    measured = sorted(
        (row for row in rows if row.median_ms is not None), key=lambda row: row.median_ms or 0.0
    )
    title = f"## {first.model}, batch {first.batch}, {first.threads} thread(s)"
    table = [
        tuple(name for name, _ in _COLUMNS),
        *(tuple(cell(row) for _, cell in _COLUMNS) for row in measured),
    ]
    failed = [f"- {row.engine}: {row.error}" for row in rows if row.error]
    return [title, "", *(_table(table) if measured else []), *([""] if failed else []), *failed, ""]


def _table(lines: Iterable[Sequence[str]]) -> list[str]:
    head, *body = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    rule = ["---"] * len(head)
    return [f"| {' | '.join(line)} |" for line in (head, rule, *body)]


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _output(row: Row) -> str:
    if row.identical:
        return "identical"
    if row.ours:
        return f"**DIFFERS** ({(row.agreement or 0):.2%} of elements)"
    return "" if row.top1 is None else f"first class {row.top1:.0%}"


_EXPLANATION = (
    "Every engine in a process of its own, timed in turns; medians. *× best peer* is the fastest peer's median, among "
    "all forms of the network in this run, over the row's: above 1 is faster than every peer. *cores* is CPU time over "
    "wall time. *output*: ours has to be the source framework's to the bit on every input; of peers, which quantize "
    "for themselves, the share of inputs with the same first class is given."
)
_COLUMNS: tuple[tuple[str, Callable[[Row], str]], ...] = (
    ("engine", lambda row: f"**{row.engine}**" if row.ours else row.engine),
    ("median ms", lambda row: _number(row.median_ms, 3)),
    ("p10 to p90", lambda row: f"{_number(row.p10_ms, 3)} to {_number(row.p90_ms, 3)}"),
    ("× best peer", lambda row: _number(row.ratio_to_best_peer, 2)),
    ("GMAC/s", lambda row: _number(row.gmacs, 1)),
    ("of peak", lambda row: "" if row.peak_share is None else f"{row.peak_share:.1%}"),
    ("cores", lambda row: _number(row.cores, 2)),
    ("output", _output),
    ("note", lambda row: row.note),
)
