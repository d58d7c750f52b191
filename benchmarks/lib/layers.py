"""The layers of a network beside those of other engines: pairs them, and prints and writes down their times."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from autotune_qnn.errors import VerificationError

NOTE = (
    "Ours: the kernel alone, run again and again, its fastest. Peers: what their own profilers say inside the whole "
    "network, medians; profiling, and whole microseconds, make small layers look slower; what they run outside "
    "of these layers (additions, conversions) is not counted. benchmarks/peers.py compares whole networks."
)

Signature = tuple[tuple[int, ...], tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Layer:
    """A convolution or dense layer: shapes of its activations in the engine's own layout, multiply-accumulates (None
    where the engine does not say), and the microseconds of one run (0 for ours, which are timed by kernel).
    """

    name: str
    data: tuple[int, ...]
    output: tuple[int, ...]
    macs: int | None = None
    us: float = 0.0

    @property
    def signature(self) -> Signature:
        """Extents of input and output that are no 1, whatever the layout."""
        data, output = (
            tuple(sorted(extent for extent in shape if extent != 1)) for shape in (self.data, self.output)
        )
        return data, output

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Layer:
        """What `dataclasses.asdict` and JSON have made of it."""
        return cls(**{**record, "data": tuple(record["data"]), "output": tuple(record["output"])})


def matched(ours: Sequence[Layer], theirs: Sequence[Layer]) -> list[Layer]:
    """The peer's layer for each of ours. Layers of equal shapes are paired in order of execution: branches may be run
    in another order.

    VerificationError where the two are not the same layers, or where it cannot be told which is which.
    """
    if len(ours) != len(theirs):
        raise VerificationError(
            f"it runs {len(theirs)} convolutions and dense layers where we run {len(ours)}"
        )
    mine, others = (Counter(layer.signature for layer in layers) for layers in (ours, theirs))
    for layer in ours:
        if mine[layer.signature] != others[layer.signature]:
            raise VerificationError(
                f"{layer.name}, {layer.data} to {layer.output}: {others[layer.signature]} of its layers have these "
                f"shapes, {mine[layer.signature]} of ours"
            )
    if [layer.signature for layer in ours] != [layer.signature for layer in theirs]:
        _check_unambiguous(ours, theirs)
    waiting: dict[tuple[Signature, int | None], list[Layer]] = defaultdict(list)
    for layer in theirs:
        waiting[layer.signature, layer.macs].append(layer)
    return [_taken(waiting, layer) for layer in ours]


def _check_unambiguous(ours: Sequence[Layer], theirs: Sequence[Layer]) -> None:
    """Run in another order, layers of equal shapes have to be equally much work, or the peer has to say how much."""
    if all(layer.macs is not None for layer in theirs):
        return
    work: dict[Signature, int | None] = {}
    for layer in ours:
        if work.setdefault(layer.signature, layer.macs) != layer.macs:
            raise VerificationError(
                f"it runs its layers in another order, and more than one kind has the shapes of {layer.name}"
            )


def _taken(waiting: dict[tuple[Signature, int | None], list[Layer]], layer: Layer) -> Layer:
    entries = waiting[layer.signature, layer.macs] or waiting[layer.signature, None]
    if not entries:
        raise VerificationError(
            f"none of its layers {layer.data} to {layer.output} has as many multiply-accumulates as {layer.name}, "
            f"{layer.macs}"
        )
    return entries.pop(0)


def macs_of(output: Sequence[int], channels: int, weights: Sequence[int]) -> int:
    """Multiply-accumulates of a layer whose weights hold all `channels` of its output."""
    return prod(output) // channels * prod(weights)


def records(
    ours: Sequence[Layer], kernels: dict[str, dict[str, Any]], peers: dict[str, list[Layer]]
) -> list[dict[str, Any]]:
    """One JSON object a layer, in order of execution. `kernels` are the measured rows by name (layers without one are
    left out), `peers` each engine's layers as `matched` gives them.
    """
    found = []
    for place, layer in enumerate(ours):
        if (row := kernels.get(layer.name)) is None:
            continue
        times = [row["default_us"], row["tuned_us"]]
        best = min(time for time in times if time is not None)
        beside = {
            engine: {
                "layer": layers[place].name,
                "us": layers[place].us,
                "times_as_fast": round(layers[place].us / best, 2),
            }
            for engine, layers in peers.items()
        }
        found.append(
            {
                "kernel": layer.name,
                "default_us": times[0],
                "tuned_us": times[1],
                "best_us": best,
                "peers": beside,
            }
        )
    return found


def table(rows: Sequence[dict[str, Any]], engines: Sequence[str]) -> list[str]:
    """The lines of the table: a head, a line a layer, their sums, and what has to be known to read it."""
    head = "".join(f"  {engine + ' µs':>16}  times as fast" for engine in engines)
    lines = [f"default µs  tuned µs{head}  layer"]
    for row in rows:
        beside = [(row["peers"][engine]["us"], row["best_us"]) for engine in engines]
        lines.append(_line(row["default_us"], row["tuned_us"], beside, row["kernel"]))
    best = sum(row["best_us"] for row in rows)
    tuned = best if any(row["tuned_us"] is not None for row in rows) else None
    sums = [(sum(row["peers"][engine]["us"] for row in rows), best) for engine in engines]
    name = "sum" if tuned is None else "sum (tuned: the faster of both)"
    lines.append(_line(sum(row["default_us"] for row in rows), tuned, sums, name))
    return [*lines, NOTE]


def _line(default: float, tuned: float | None, beside: Sequence[tuple[float, float]], name: str) -> str:
    ours = f"{default:10.1f}  " + ("       -" if tuned is None else f"{tuned:8.1f}")
    peers = "".join(f"  {us:16.1f}  {us / best:13.2f}" for us, best in beside)
    return f"{ours}{peers}  {name}"
