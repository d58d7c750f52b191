"""From a .pt2 file to the graph that the importer works on, raised to integers, and what there is to say about that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from autotune_qnn.errors import ModelError, UsageError
from autotune_qnn.frontends.base import ImportOptions
from autotune_qnn.frontends.pytorch.exported import rules
from autotune_qnn.frontends.pytorch.exported.program import Program, capture_program, load_program
from autotune_qnn.frontends.pytorch.exported.raising import LAYER, Raised, raise_to_integers
from autotune_qnn.frontends.pytorch.graph import Graph
from autotune_qnn.quantization import Arithmetic

RULE_MODULES = (rules,)
"""The modules whose import registers the rules that exported programs need."""
ARITHMETICS = (Arithmetic.EXPORTED, Arithmetic.INDUCTOR)


@dataclass(frozen=True, slots=True)
class Reading:
    """A program's raised graph, its own operators by name, and remarks for the report."""

    graph: Graph
    operators: tuple[tuple[str, int], ...]
    remarks: tuple[str, ...]


def read_program(path: Path, options: ImportOptions) -> Reading:
    """Reads and raises the program in a file. Its input has the shape that it was exported for."""
    arithmetic = options.arithmetic or Arithmetic.EXPORTED
    if arithmetic not in ARITHMETICS:
        names = ", ".join(known.value for known in ARITHMETICS)
        raise UsageError(f"an exported program has no arithmetic {arithmetic.value}; choose one of {names}")
    program = load_program(path)
    _check_shape(program, path, options)
    try:
        captured = capture_program(program, arithmetic, name=path.stem)
    except ModelError as error:
        raise type(error)(f"{path}: {error}") from error
    raised = raise_to_integers(captured)
    if arithmetic is Arithmetic.INDUCTOR:
        _check_inductor(raised.graph, path)
    return Reading(raised.graph, captured.counts(), remarks(raised))


def _check_shape(program: Program, path: Path, options: ImportOptions) -> None:
    shape = program.input_shape
    wanted = shape if options.input_shape is None else options.input_shape
    if options.batch != 1:
        wanted = (options.batch, *wanted[1:])
    if wanted != shape:
        raise UsageError(
            f"{path} was exported for an input of {','.join(map(str, shape))}, not {','.join(map(str, wanted))}"
        )


def _check_inductor(graph: Graph, path: Path) -> None:
    """UsageError where Inductor's integer kernels refuse the program's activations."""
    data = {graph.metas[node.ref("self").index].dtype for node in graph.nodes if node.name == LAYER}
    if data - {"uint8"}:
        raise UsageError(
            f"{path} stores activations as {', '.join(sorted(data))}, and Inductor's integer kernels take uint8 only; "
            f"leave --arithmetic at {Arithmetic.EXPORTED.value}"
        )


def remarks(raised: Raised) -> tuple[str, ...]:
    """What became of the program's float operators, one line a kind."""
    lines = []
    if raised.exact:
        lines.append(f"on integers, provably the same: {_listed(raised.exact)}")
    if raised.summed:
        how = (
            "as Inductor does"
            if raised.graph.engine is Arithmetic.INDUCTOR
            else "the program sums float32 in an order of its own, so a result near a tie may differ by one"
        )
        lines.append(f"summed in integers: {_listed(raised.summed)} ({how})")
    if raised.kept:
        lines.append(f"kept in float: {_listed(raised.kept)}")
    return tuple(lines)


def _listed(counts: Mapping[str, int]) -> str:
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{count} {name.split('::')[-1]}" for name, count in ordered)
