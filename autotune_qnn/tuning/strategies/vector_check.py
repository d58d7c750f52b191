"""A postprocessor for generated sketches: no loop may be vectorized around an instruction's own vectors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tvm import tirx
from tvm.ir.utils import derived_object
from tvm.s_tir import meta_schedule as ms

from autotune_qnn.tuning.replay import new_schedule


def vectorizes_vectors(mod: Any) -> bool:
    """Whether a vectorized loop of the module's kernel holds a block that writes whole vectors already.

    TVM finds that out only when it lowers the loop, and then gives up.
    """
    schedule = new_schedule(mod)
    root = schedule.get_sblock("root")
    return any(
        _writes_vectors(schedule.get(block).body)
        and any(schedule.get(loop).kind == tirx.ForKind.VECTORIZED for loop in schedule.get_loops(block))
        for block in _blocks_under(schedule, root)
    )


def _blocks_under(schedule: Any, block: Any) -> Iterator[Any]:
    for child in schedule.get_child_blocks(block):
        yield child
        yield from _blocks_under(schedule, child)


def _writes_vectors(body: Any) -> bool:
    statements = body.seq if isinstance(body, tirx.SeqStmt) else [body]
    return any(
        isinstance(statement, tirx.BufferStore)
        and any(isinstance(index, tirx.Ramp) for index in statement.indices)
        for statement in statements
    )


@derived_object
class RejectVectorizedVectors(ms.postproc.PyPostproc):  # type: ignore[misc]
    """Rejects schedules that `vectorizes_vectors` finds fault with."""

    def _initialize_with_tune_context(self, context: Any) -> None:
        """Nothing to learn from the task."""

    def apply(self, sch: Any) -> bool:
        """Whether the schedule may be kept."""
        return not vectorizes_vectors(sch.mod)

    def clone(self) -> Any:
        """Another of its kind."""
        return RejectVectorizedVectors()
