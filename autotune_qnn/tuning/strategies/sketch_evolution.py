"""Sketches by TVM's own rules, for kernels that the project's own (sketch_tiling.py, sketch_stages.py) do not know.

MetaSchedule's rules make sketches from the workload alone: multi-level tiling, on this target's dot-product
instructions where the workload has their shape, inlining, vectorizing and unrolling. Its evolutionary search
mutates their decisions, guided by the cost model.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import tvm_ffi
from tvm.s_tir import meta_schedule as ms

from autotune_qnn.errors import first_line
from autotune_qnn.kernels.intrinsics import sketch_intrinsics
from autotune_qnn.kernels.isa import Isa
from autotune_qnn.logs import TrialRecord, TunerName
from autotune_qnn.tuning.cost_model import TaskModel
from autotune_qnn.tuning.features import features
from autotune_qnn.tuning.protocols import Target, Task
from autotune_qnn.tuning.replay import TVM_ERRORS, replay
from autotune_qnn.tuning.strategies.base import Proposal
from autotune_qnn.tuning.strategies.context import seeded, tune_context, tune_target
from autotune_qnn.tuning.strategies.sketch_model import SketchCostModel
from autotune_qnn.tuning.strategies.vector_check import RejectVectorizedVectors
from autotune_qnn.tuning.trust import TraceChecker

_SOURCE = "sketch"
_MAX_TRIALS = 1 << 30
_EMPTY_ROUNDS = 3
_RESTORED = 256
_MAX_INNERMOST = 64
_LOGGER = logging.getLogger(__name__)


def schedule_rules(intrinsics: Sequence[str], threads: int, *, stage: bool) -> list[Any]:
    """The rules that make sketches, for a CPU with these registered dot-product intrinsics.

    With `stage`, results may be staged in a tile of their own, or their consumer moved into the tile.
    """
    rules = ms.schedule_rule
    reuse = rules.ReuseType(req="may", levels=[1, 2], scope="global") if stage else None
    tiling: dict[str, Any] = {
        "structure": "SSRSRS",
        "max_innermost_factor": _MAX_INNERMOST,
        "reuse_write": reuse,
    }
    inline = rules.AutoInline(
        into_producer=False,
        into_consumer=True,
        inline_const_tensor=True,
        disallow_if_then_else=True,
        require_injective=True,
        require_ordered=True,
        disallow_op=["tirx.exp"],
    )
    jobs = 16 if threads > 1 else -1
    return [
        rules.ApplyCustomRule(),
        rules.InlineConstantScalars(),
        inline,
        *(rules.MultiLevelTilingWithIntrin(name, **tiling) for name in intrinsics),
        rules.MultiLevelTiling(**tiling),
        rules.ParallelizeVectorizeUnroll(
            max_jobs_per_core=jobs,
            max_vectorize_extent=64,
            unroll_max_steps=[0, 16, 64, 256],
            unroll_explicit=True,
        ),
        rules.RandomComputeLocation(),
    ]


def _postprocs(threads: int) -> list[Any]:
    """What completes a sketch. In TVM's own order, loops around a block that is yet to be tensorized may be
    vectorized, and more than half of such candidates cannot be lowered. Tensorizing first avoids that, but
    leaves nothing that can be made parallel; with threads, such candidates are found and rejected instead.
    """
    postprocs = ms.postproc
    tensorize = [postprocs.RewriteReductionBlock(), postprocs.RewriteTensorize(vectorize_init_loop=True)]
    vectorize = postprocs.RewriteParallelVectorizeUnroll()
    if threads > 1:
        return [postprocs.DisallowDynamicLoop(), vectorize, *tensorize, RejectVectorizedVectors()]
    return [postprocs.DisallowDynamicLoop(), *tensorize, vectorize]


Spaces = Callable[[], Sequence[Any]]
"""Makes the space generators of a task, the one to try first first."""


def stock_spaces() -> list[Any]:
    """The rules, postprocessors and mutators that TVM has for CPUs, as they stand."""
    return [ms.space_generator.PostOrderApply(sch_rules="llvm", postprocs="llvm", mutator_probs="llvm")]


def _space(intrinsics: Sequence[str], threads: int, *, stage: bool) -> Any:
    mutators = ms.mutator
    return ms.space_generator.PostOrderApply(
        sch_rules=schedule_rules(intrinsics, threads, stage=stage),
        postprocs=_postprocs(threads),
        mutator_probs={
            mutators.MutateTileSize(): 0.9,
            mutators.MutateComputeLocation(): 0.05,
            mutators.MutateUnroll(): 0.03,
            mutators.MutateParallel(max_jobs_per_core=16): 0.02,
        },
    )


class EvolutionStrategy:
    """Implements Strategy with MetaSchedule's PostOrderApply and EvolutionarySearch."""

    tuner = TunerName.AUTOSCHEDULER
    overlaps = False

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
        spaces: Spaces | None = None,
    ) -> None:
        """`batch` is how many candidates the evolutionary search makes at a time; `checker` tries the traces
        of earlier runs. `spaces` replaces this file's rules.
        """
        self.exhausted = False
        self._task = task
        self._model = model
        self._checker = checker
        self._seed = seed
        self._rounds = 0
        self._seen: set[int] = set()
        self._buffer: list[Proposal] = []
        self._threads = threads
        self._cost_model = SketchCostModel(model, task.macs, threads)
        self._target = tune_target(target, threads)
        self._database = ms.database.MemoryDatabase()
        self._workload = self._database.commit_workload(task.mod)
        self._arguments = ms.arg_info.ArgInfo.from_entry_func(task.mod)
        intrinsics = sketch_intrinsics(target.isa)
        if target.isa is Isa.AMX_INT8:
            _LOGGER.info("%s: sketches use VNNI; tiles are for templates only", task.name)
        try:
            made = (
                spaces() if spaces else [_space(intrinsics, threads, stage=stage) for stage in (True, False)]
            )
            self._context, sketches = self._sketches(made, batch)
            self._context.pre_tuning(_MAX_TRIALS, batch, sketches, self._database, self._cost_model)
        except TVM_ERRORS as error:
            self._stop(error)

    def _sketches(self, spaces: Sequence[Any], batch: int) -> tuple[Any, list[Any]]:
        """A context and its sketches. Where the consumer of a reduction has another one to wait for, the rule
        that moves consumers fails in TVM, and sketches are made without it.
        """
        for space in spaces:
            search = ms.search_strategy.EvolutionarySearch(
                population_size=32, init_min_unmeasured=batch, genetic_num_iters=2, eps_greedy=0.1
            )
            context = tune_context(self._task, self._target, self._seed, space=space, strategy=search)
            try:
                return context, list(context.generate_design_space())
            except TVM_ERRORS:
                if space is spaces[-1]:
                    raise
        raise AssertionError("the loop returns or raises")

    def restore(self, records: Sequence[TrialRecord]) -> int:
        """Replay earlier sketches into the database that the search starts from."""
        recent = [record for record in records if record.tuner is self.tuner][-_RESTORED:]
        accepted = self._checker.accepted(recent, self._task.mod)
        for record in accepted:
            schedule = replay(record, self._task.mod)
            self._seen.add(tvm_ffi.structural_hash(schedule.mod))
            self._commit(schedule, record.seconds)
        return len(accepted)

    def propose(self, count: int) -> list[Proposal]:
        """Up to `count` sketches with decisions that have not been tried."""
        empty = 0
        while not self._buffer and not self.exhausted:
            self._generate()
            empty += not self._buffer
            if empty >= _EMPTY_ROUNDS:
                self.exhausted = True
        taken, self._buffer = self._buffer[:count], self._buffer[count:]
        return taken

    def _generate(self) -> None:
        self._rounds += 1
        try:
            with seeded(self._seed + self._rounds):
                candidates = self._context.generate_measure_candidates()
        except TVM_ERRORS as error:
            self._stop(error)
            return
        if candidates is None:
            self.exhausted = True
            return
        for item in candidates:
            identity = tvm_ffi.structural_hash(item.sch.mod)
            if identity not in self._seen:
                self._seen.add(identity)
                seen_by_model = features(item.sch.mod, self._task.macs, self._threads)
                self._buffer.append(Proposal(item.sch, None, _SOURCE, seen_by_model, item))

    def observe(self, results: Sequence[tuple[Proposal, float]]) -> None:
        """Hand results to the search, to its database and to the cost model."""
        for proposal, seconds in results:
            self._commit(proposal.schedule, seconds)
            self._model.add(proposal.features, seconds)
        answers = [ms.runner.RunnerResult([min(seconds, 1e10)], None) for _, seconds in results]
        try:
            self._context.search_strategy.notify_runner_results(
                [proposal.candidate for proposal, _ in results], answers
            )
        except TVM_ERRORS as error:
            self._stop(error)

    def _commit(self, schedule: Any, seconds: float) -> None:
        record = ms.database.TuningRecord(
            schedule.trace, self._workload, [min(seconds, 1e10)], self._target, self._arguments
        )
        self._database.commit_tuning_record(record)

    def _stop(self, error: Exception) -> None:
        _LOGGER.warning("no sketches for %s: %.200s", self._task.name, first_line(error))
        self.exhausted = True
