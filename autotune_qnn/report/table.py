"""The readable form of a report: the same numbers as in the JSON."""

from __future__ import annotations

from collections.abc import Sequence

from autotune_qnn.evaluation.metrics import Accuracy, Agreement
from autotune_qnn.report.model import Report

_LATENCY_ROWS = (
    ("median", "median_ms"),
    ("mean", "mean_ms"),
    ("p10", "p10_ms"),
    ("p90", "p90_ms"),
    ("min", "min_ms"),
    ("std", "std_ms"),
)
_BUILDS = ("before", "after")
_RUNNERS = ("before", "after", "reference")


def render(report: Report) -> str:
    """The table as text, without a trailing newline."""
    parts = [_head(report), _latency(report), _agreement(report)]
    if report.accuracy is not None:
        parts.append(_accuracy(report))
    if report.predictions:
        parts.append(_predictions(report))
    return "\n\n".join(parts)


def coverage_line(tuned: int, fallback: int, missing: int, set_aside: int) -> str:
    """How many tasks the build took from where, in one line; `set_aside` of those with a default schedule are known
    from CPUs of another kind only.
    """
    total = tuned + fallback + missing
    known = f" ({set_aside} of them known from other kinds of CPU only)" if set_aside else ""
    return f"{total} tasks: {tuned} tuned, {fallback} with a default schedule{known}, {missing} missing"


def _head(report: Report) -> str:
    tuning = report.tuning
    trials = f"{tuning.trials_in_log} in the log, {tuning.new_trials} new"
    if tuning.new_trials:
        trials += f" in {tuning.seconds} s"
    if tuning.failures:
        trials += f", failed: {', '.join(f'{count} {kind}' for kind, count in tuning.failures.items())}"
    if tuning.trials_while_busy:
        trials += f"; {tuning.trials_while_busy} while the machine was busy"
    rows = [
        ("model", f"{report.model} ({report.frontend}, batch {report.batch})"),
        ("target", report.target),
        ("cpu", f"{report.cpu}, {_count(report.threads, 'thread')}"),
        ("arithmetic", report.arithmetic),
        ("coverage", _coverage(report)),
        ("trials", trials),
        ("log", tuning.log),
        ("data", "; ".join(report.data)),
    ]
    if report.weights is not None:
        rows.insert(1, ("weights", report.weights))
    if report.better_target is not None:
        rows.insert(rows.index(("target", report.target)) + 1, ("better target", report.better_target))
    if tuning.logs_elsewhere or tuning.tasks_elsewhere:
        help_from = _count(tuning.logs_elsewhere, "other log")
        text = f"learnt from {_count(tuning.records_elsewhere, 'record')} of {help_from}"
        if tuning.tasks_elsewhere:
            text += f"; {_count(tuning.tasks_elsewhere, 'task')} known from other logs"
        rows.append(("warm start", text))
    if report.preprocessing is not None:
        rows.append(("images", report.preprocessing))
    rows += [("import", remark) for remark in report.remarks]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


def _coverage(report: Report) -> str:
    coverage = report.coverage
    return coverage_line(coverage.tuned, coverage.fallback, coverage.missing, report.tuning.tasks_set_aside)


def _latency(report: Report) -> str:
    rows = [["latency (ms)", *_RUNNERS]]
    columns = [getattr(report.latency, name) for name in _RUNNERS]
    rows += [
        [title, *(f"{getattr(column, name):.5f}" for column in columns)] for title, name in _LATENCY_ROWS
    ]
    rows.append(["repeats", *(str(column.repeats) for column in columns)])
    rows.append(["runs a repeat", *(str(column.runs_per_repeat) for column in columns)])
    speedup, noise = report.speedup, report.noise
    text = (
        f"{_grid(rows)}\n"
        f"after: {speedup.over_before} times as fast as before, "
        f"{speedup.over_reference} times as fast as the reference (medians)"
    )
    if noise.busy:
        text += f"\nthe machine was busy (load {noise.load}, spin loop spread {noise.spread}): read with care"
    return text


def _agreement(report: Report) -> str:
    columns: list[Agreement] = [report.agreement.before, report.agreement.after]
    rows = [["agreement with the reference", *_BUILDS]]
    rows.append(["identical inputs", *(f"{c.identical_samples} of {c.samples}" for c in columns)])
    rows.append(["identical", *(_percent(c.identical) for c in columns)])
    rows.append(["identical elements", *(_percent(c.identical_elements) for c in columns)])
    rows.append(["largest difference", *(f"{c.max_difference:g}" for c in columns)])
    rows.append(["same top-1", *(_percent(c.top1) for c in columns)])
    rows.append(["same top-5", *(_percent(c.top5) for c in columns)])
    return _grid(rows)


def _accuracy(report: Report) -> str:
    assert report.accuracy is not None
    columns: list[Accuracy] = [getattr(report.accuracy, name) for name in _RUNNERS]
    rows = [["accuracy", *_RUNNERS]]
    rows.append(["top-1", *(_percent(c.top1) for c in columns)])
    rows.append(["top-5", *(_percent(c.top5) for c in columns)])
    rows.append(["samples", *(str(c.samples) for c in columns)])
    return _grid(rows)


def _predictions(report: Report) -> str:
    blocks = []
    for prediction in report.predictions:
        names = prediction.names or ("",) * len(prediction.classes)
        rows = [[f"{prediction.image}: class", "score", "name"]]
        rows += [
            [str(number), f"{score:g}", name]
            for number, score, name in zip(prediction.classes, prediction.scores, names, strict=True)
        ]
        blocks.append(_grid(rows, left=(0, 2)))
    return "\n\n".join(blocks)


def _grid(rows: Sequence[Sequence[str]], left: tuple[int, ...] = (0,)) -> str:
    """Columns lined up, a rule under the first row; all columns but those in `left` flush right."""
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.ljust(width) if place in left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    lines.insert(1, "-" * (sum(widths) + 2 * (len(widths) - 1)))
    return "\n".join(lines)


def _percent(share: float) -> str:
    return f"{100 * share:.4f} %"


def _count(number: int, name: str) -> str:
    return f"{number} {name}" if number == 1 else f"{number} {name}s"
