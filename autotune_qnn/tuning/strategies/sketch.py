"""The search over generated sketches (--tuner autoscheduler).

They are made from the workload alone. Kernels that are one sum are tiled around this target's instructions
(`sketch_tiling`; `sketch_stages` where several blocks lie before and behind the sum), and searched like a template's
knobs: every candidate is valid, and so are its changes. For all others TVM's rules make sketches, which its
evolutionary search mutates (`sketch_evolution`).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from autotune_qnn.errors import first_line
from autotune_qnn.kernels.isa import Isa
from autotune_qnn.logs import TrialRecord, TunerName
from autotune_qnn.tuning.cost_model import TaskModel
from autotune_qnn.tuning.protocols import Target, Task
from autotune_qnn.tuning.replay import TVM_ERRORS, new_schedule
from autotune_qnn.tuning.strategies.base import Proposal, Strategy
from autotune_qnn.tuning.strategies.sketch_evolution import EvolutionStrategy
from autotune_qnn.tuning.strategies.sketch_stage_structure import stages_of
from autotune_qnn.tuning.strategies.sketch_stages import StagedSketch
from autotune_qnn.tuning.strategies.sketch_structure import structure_of
from autotune_qnn.tuning.strategies.sketch_tiling import TiledSketch
from autotune_qnn.tuning.strategies.template import TemplateStrategy
from autotune_qnn.tuning.trust import TraceChecker

_LOGGER = logging.getLogger(__name__)


def tiled_sketch(task: Task, isa: Isa, threads: int) -> TiledSketch | StagedSketch | None:
    """The tiled sketches of a task; None where it has another form, or where their default does not apply."""
    try:
        sketch = _sketch(task.mod, isa, threads)
        if sketch is None:
            return None
        sketch.apply(new_schedule(task.mod), sketch.default())
    except TVM_ERRORS as error:
        _LOGGER.info("%s: no tiled sketches: %.200s", task.name, first_line(error))
        return None
    return sketch


def _sketch(mod: Any, isa: Isa, threads: int) -> TiledSketch | StagedSketch | None:
    structure = structure_of(mod, isa)
    if structure is not None:
        return TiledSketch(structure, threads)
    stages = stages_of(mod, isa)
    return None if stages is None else StagedSketch(stages, threads)


class _TiledStrategy(TemplateStrategy):
    """A search over tiled sketches."""

    tuner = TunerName.AUTOSCHEDULER


class SketchStrategy:
    """Implements Strategy with tiled sketches where a kernel has some, and with TVM's rules elsewhere."""

    tuner = TunerName.AUTOSCHEDULER

    def __init__(
        self,
        task: Task,
        target: Target,
        model: TaskModel,
        checker: TraceChecker,
        *,
        threads: int,
        batch: int,
        seed: int,
    ) -> None:
        """`batch` is how many candidates the evolutionary search makes at a time; `checker` tries the traces
        of earlier runs.
        """
        sketch = tiled_sketch(task, target.isa, threads)
        self._search: Strategy
        if sketch is not None:
            self._search = _TiledStrategy(task, sketch, model, seed, threads=threads)
        else:
            self._search = EvolutionStrategy(
                task, target, model, checker, threads=threads, batch=batch, seed=seed
            )

    @property
    def exhausted(self) -> bool:
        """Whether there is nothing left to propose."""
        return self._search.exhausted

    @property
    def overlaps(self) -> bool:
        """Whether new candidates may be asked for while some are still being measured."""
        return self._search.overlaps

    def restore(self, records: Sequence[TrialRecord]) -> int:
        """Take over what an earlier run measured. Returns how many records were usable."""
        return self._search.restore(records)

    def propose(self, count: int) -> list[Proposal]:
        """Up to `count` new candidates."""
        return self._search.propose(count)

    def observe(self, results: Sequence[tuple[Proposal, float]]) -> None:
        """Learn from measured proposals."""
        self._search.observe(results)
