"""Rows as a chart: for each case a line of dots, how fast every engine is beside the fastest peer. SVG, by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from benchmarks.lib.rows import Machine, Row

_LEFT, _RIGHT, _TOP, _LINE, _FOOT = 290, 30, 64, 22, 46
_WIDTH = 1000
_COLOURS = {
    "autotune_qnn_untuned": "#f4a3a0",
    "autotune_qnn_autotvm": "#e15759",
    "autotune_qnn_autoscheduler": "#b5332e",
    "autotune_qnn_tuned": "#7a0f0f",
    "openvino": "#4e79a7",
    "openvino_nncf": "#9ec9e8",
    "onnxruntime": "#59a14f",
    "litert_xnnpack": "#f28e2b",
    "tflite_builtin": "#ffcf9e",
    "pytorch_x86": "#b07aa1",
    "pytorch_onednn": "#d4a6c8",
    "pytorch_fbgemm": "#9c755f",
    "pytorch_inductor": "#555555",
}
_FONT = 'font-family="sans-serif" font-size="12"'
_OTHER = "#999999"


def svg(rows: Sequence[Row], machine: Machine) -> str:
    """The chart of completed rows: a logarithmic axis on which the fastest peer is at 1 and faster is to the right."""
    shown = [row for row in rows if row.ratio_to_best_peer]
    cases = list(dict.fromkeys(row.case for row in shown))
    engines = list(dict.fromkeys(row.engine for row in shown))
    low, high = _range([row.ratio_to_best_peer or 1.0 for row in shown])
    legend_lines = math.ceil(len(engines) / 5)
    top = _TOP + 18 * legend_lines
    height = top + _LINE * len(cases) + _FOOT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" {_FONT}>',
        f'<rect width="{_WIDTH}" height="{height}" fill="white"/>',
        f'<text x="16" y="24" font-size="16">Speed beside the fastest peer (1), {escape(machine.cpu)}</text>',
        *_legend(engines),
        *_axis(low, high, top, top + _LINE * len(cases)),
    ]
    for place, case in enumerate(cases):
        y = top + _LINE * place + _LINE / 2
        model, threads, batch = case
        parts.append(
            f'<text x="{_LEFT - 10}" y="{y + 4:.1f}" text-anchor="end">{escape(model)}, batch {batch}, '
            f"{threads} thread{'s' if threads > 1 else ''}</text>"
        )
        for row in sorted((row for row in shown if row.case == case), key=lambda row: row.ours):
            parts.append(_dot(row, _position(row.ratio_to_best_peer or 1.0, low, high), y))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _range(ratios: Sequence[float]) -> tuple[float, float]:
    """A little more than what is shown, and always 0.5 to 2."""
    return min([0.5, *ratios]) / 1.1, max([2.0, *ratios]) * 1.1


def _position(ratio: float, low: float, high: float) -> float:
    share = math.log(ratio / low) / math.log(high / low)
    return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)


def _dot(row: Row, x: float, y: float) -> str:
    radius, edge = (6, "black") if row.ours else (4.5, "none")
    title = f"{row.engine}: {row.median_ms:.3f} ms, {row.ratio_to_best_peer:.2f}"
    colour = _COLOURS.get(row.engine, _OTHER)
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{colour}" stroke="{edge}" fill-opacity="0.9">'
        f"<title>{escape(title)}</title></circle>"
    )


def _legend(engines: Sequence[str]) -> list[str]:
    parts = []
    for place, name in enumerate(engines):
        x, y = 16 + 195 * (place % 5), 46 + 18 * (place // 5)
        parts.append(f'<circle cx="{x + 5}" cy="{y}" r="5" fill="{_COLOURS.get(name, _OTHER)}"/>')
        parts.append(f'<text x="{x + 15}" y="{y + 4}">{escape(name)}</text>')
    return parts


def _axis(low: float, high: float, top: float, bottom: float) -> list[str]:
    parts = []
    for mark in (0.02, 0.05, 0.1, 0.2, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0):
        if not low <= mark <= high:
            continue
        x, stroke = _position(mark, low, high), "#333333" if mark == 1.0 else "#dddddd"
        parts.append(f'<line x1="{x:.1f}" y1="{top - 6}" x2="{x:.1f}" y2="{bottom + 6}" stroke="{stroke}"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 22}" text-anchor="middle">{mark:g}</text>')
    parts.append(f'<text x="{_WIDTH - _RIGHT}" y="{bottom + 40}" text-anchor="end">faster →</text>')
    return parts
