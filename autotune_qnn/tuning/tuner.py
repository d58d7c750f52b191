"""The tuning loop: choose a task, ask its search for candidates, build and measure them, record, learn.

Every trial is in the log, synced, before the search learns of it. A run that starts with a log takes over
what it holds: nothing is measured twice, and recorded trials count towards the budgets.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import tvm

from autotune_qnn.errors import LogStoreError
from autotune_qnn.logs import LogStore, TrialRecord, TunerName
from autotune_qnn.logs.pool import RecordPool
from autotune_qnn.tuning.arguments import write_arguments
from autotune_qnn.tuning.confirm import Confirmer, Libraries
from autotune_qnn.tuning.cost_model import SpeedModel
from autotune_qnn.tuning.interrupt import StopRequest
from autotune_qnn.tuning.measure import Job, Measurer, Outcome
from autotune_qnn.tuning.options import TuneOptions
from autotune_qnn.tuning.progress import NoProgress
from autotune_qnn.tuning.protocols import Progress, Target, Task
from autotune_qnn.tuning.replay import TVM_ERRORS, trace_json
from autotune_qnn.tuning.run_worker import BUSY_NOISE
from autotune_qnn.tuning.scheduler import (
    ArmState,
    TaskState,
    choose_arm,
    first_share,
    is_finished,
    order_tasks,
)
from autotune_qnn.tuning.search import batch_size
from autotune_qnn.tuning.stopwatch import Stopwatch
from autotune_qnn.tuning.strategies.base import Proposal, Strategy
from autotune_qnn.tuning.strategies.sketch import SketchStrategy
from autotune_qnn.tuning.strategies.template import TemplateStrategy
from autotune_qnn.tuning.summary import Phases, StopReason, TuneSummary, summarize
from autotune_qnn.tuning.trust import TraceChecker
from autotune_qnn.tuning.warm import WarmStart, stored_features
from autotune_qnn.tuning.workspace import Workspace

_WAIT = 0.25
_BATCHES_IN_FLIGHT = 2
_LEAST_SKETCHES = 8


@dataclass
class _Arm:
    """A search at work: its counts, its strategy once begun, results that it has not learnt from yet."""

    state: ArmState
    strategy: Strategy | None = None
    unlearnt: list[tuple[Proposal, float]] = field(default_factory=list)

    def ready(self, batch: int) -> bool:
        """Whether it may be asked for candidates now."""
        if self.strategy is None or not self.state.pending:
            return True
        return self.strategy.overlaps and self.state.pending <= batch // 2


@dataclass
class _Work:
    """A task at work."""

    task: Task
    state: TaskState
    arms: tuple[_Arm, ...]
    libraries: Libraries
    arguments: Path | None = None
    measured: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class _Trial:
    work: _Work
    arm: _Arm
    proposal: Proposal


def tune(
    tasks: Sequence[Task],
    target: Target,
    store: LogStore,
    options: TuneOptions,
    progress: Progress | None = None,
    stop: StopRequest | None = None,
    pool: RecordPool | None = None,
) -> TuneSummary:
    """Tune the tasks for the target within the options' budgets, recording every trial in the store.

    With a pool of other logs the run starts warm (see `warm`). When the budget is used up, each task's leaders are
    compared once more (see `confirm`). The target must run on this machine. A signal (or `stop`) ends the run
    cleanly; the summary then says so. Raises LogStoreError when records cannot be written and BuildError when no
    worker process can start.
    """
    progress = progress or NoProgress()
    started = time.monotonic()
    with (
        stop or StopRequest() as request,
        Workspace() as workspace,
        Measurer[_Trial](target, options, workspace) as measurer,
        TraceChecker() as checker,
    ):
        loop = _Loop(tasks, target, store, options, progress, request, workspace, measurer, checker, pool)
        try:
            reason = loop.run()
        finally:
            progress.close()
        phases = loop.phases()
    return summarize(
        tasks,
        store,
        loop.measured,
        resumed=loop.resumed,
        seconds=time.monotonic() - started,
        reason=reason,
        phases=phases,
        warm=loop.warm.summary,
        busy=sum(record.noise > BUSY_NOISE for record in loop.measured),
    )


class _Loop:
    def __init__(
        self,
        tasks: Sequence[Task],
        target: Target,
        store: LogStore,
        options: TuneOptions,
        progress: Progress,
        stop: StopRequest,
        workspace: Workspace,
        measurer: Measurer[_Trial],
        checker: TraceChecker,
        pool: RecordPool | None,
    ) -> None:
        self._started = time.monotonic()
        self._target = target
        self._store = store
        self._options = options
        self._progress = progress
        self._stop = stop
        self._workspace = workspace
        self._measurer = measurer
        self._checker = checker
        self._watch = Stopwatch("sampling", "model", "verifying", "confirming")
        self._model = SpeedModel(seed=options.seed)
        with self._watch.timed("model"):
            self.warm = WarmStart(tasks, store, pool, self._model)
        self._work = [self._prepare(task) for task in tasks]
        self.measured: list[TrialRecord] = []
        self.resumed = sum(work.state.trials for work in self._work)
        left = options.trials - self.resumed
        fresh = sum(not work.state.trials for work in self._work)
        self._first_share = first_share(left, fresh, options.batch)

    def _prepare(self, task: Task) -> _Work:
        """A task with the counts of its records."""
        has_template = task.template() is not None
        names = [name for name in self._options.tuner.names if has_template or name is not TunerName.AUTOTVM]
        states = [ArmState(name) for name in names]
        if has_template and TunerName.AUTOTVM not in names:
            states.insert(0, ArmState(TunerName.AUTOTVM, baseline=True))
        arms = tuple(_Arm(state) for state in states)
        size = max(1.0, float(task.macs))
        elsewhere = self.warm.trials_elsewhere(task.key)
        state = TaskState(task.name, task.weight, size, tuple(arm.state for arm in arms), elsewhere)
        by_name = {arm.state.tuner: arm.state for arm in arms}
        for record in self._store.records(task.key):
            if record.tuner in by_name:
                state.add(by_name[record.tuner], record.seconds)
        for arm_state in states:
            arm_state.exhausted = arm_state.baseline and arm_state.trials > 0
        return _Work(task, state, arms, Libraries(task.template()))

    def run(self) -> StopReason:
        total = self._options.trials
        self._progress.start([work.task for work in self._work], total, self.resumed)
        while not self._stop.requested:
            proposed = self._propose_next()
            if not proposed and not self._measurer.in_flight:
                reason = StopReason.BUDGET if self._remaining() <= 0 else StopReason.FINISHED
                self._confirm()
                return StopReason.INTERRUPTED if self._stop.requested else reason
            self._collect(0.0 if proposed else _WAIT)
        self._finish_begun()
        return StopReason.INTERRUPTED

    def _remaining(self) -> int:
        """Trials that may still begin."""
        if (
            self._options.time_budget is not None
            and time.monotonic() - self._started > self._options.time_budget
        ):
            return 0
        return self._options.trials - self.resumed - len(self.measured) - self._measurer.in_flight

    def _propose_next(self) -> bool:
        """Ask one search for candidates, if budgets and workers allow. Returns whether any were queued."""
        options = self._options
        if self._remaining() <= 0 or self._measurer.in_flight > (_BATCHES_IN_FLIGHT - 1) * options.batch:
            return False
        open_tasks = {
            id(work.state): work
            for work in self._work
            if not is_finished(work.state, options.trials_per_task, options.early_stopping)
        }
        for state in order_tasks([work.state for work in open_tasks.values()]):
            work = open_tasks[id(state)]
            while not self._stop.requested:
                arm = self._ready_arm(work)
                if arm is None:
                    break
                if self._propose(work, arm):
                    return True
        return False

    def _ready_arm(self, work: _Work) -> _Arm | None:
        """The search that the task should go on with, if it can be asked now."""
        chosen = choose_arm(work.state)
        arm = next((arm for arm in work.arms if arm.state is chosen), None)
        return arm if arm is not None and arm.ready(self._options.batch) else None

    def _propose(self, work: _Work, arm: _Arm) -> bool:
        """Queue new candidates; where there are none, the search is exhausted afterwards."""
        count = min(self._options.batch, self._remaining())
        if arm.state.tuner is TunerName.AUTOTVM:
            count = batch_size(arm.state.trials, count)
        if not work.state.trials:
            count = min(count, self._first_share)
        if self._options.trials_per_task is not None:
            count = min(count, self._options.trials_per_task - work.state.trials - work.state.pending)
        if arm.state.baseline:
            count = min(count, 1)
        self._progress.task(work.task.name)
        with self._measurer.working(), self._watch.timed("sampling"):
            if arm.strategy is None:
                arm.strategy = self._begin(work.task, arm.state.tuner)
            self._teach(arm)
            proposals = arm.strategy.propose(count)
        arm.state.exhausted = arm.strategy.exhausted or not proposals or arm.state.baseline
        for proposal in proposals:
            self._submit(work, arm, proposal)
        return bool(proposals)

    def _begin(self, task: Task, tuner: TunerName) -> Strategy:
        options = self._options
        seed = (options.seed * 1_000_003 + zlib.crc32(task.key.encode())) % (1 << 31)
        strategy: Strategy
        template = task.template() if tuner is TunerName.AUTOTVM else None
        model = self._model.task(task.key)
        if template is not None:
            strategy = TemplateStrategy(
                task,
                template,
                model,
                seed,
                threads=options.threads,
                first=self.warm.first(task, template),
                guided=options.guided,
            )
        else:
            strategy = SketchStrategy(
                task,
                self._target,
                model,
                self._checker,
                threads=options.threads,
                batch=max(_LEAST_SKETCHES, options.batch),
                seed=seed,
            )
        records = [record for record in self._store.records(task.key) if record.tuner is tuner]
        if records:
            strategy.restore(records)
        return strategy

    def _submit(self, work: _Work, arm: _Arm, proposal: Proposal) -> None:
        if work.arguments is None:
            with self._watch.timed("verifying"):
                work.arguments = self._workspace.new_file(".npz")
                write_arguments(work.arguments, work.task, self._options.seed)
        module = tvm.ir.save_json(proposal.schedule.mod)
        arm.state.pending += 1
        work.state.pending += 1
        self._measurer.submit(Job(_Trial(work, arm, proposal), module, work.arguments, work.state.best))

    def _collect(self, timeout: float) -> None:
        for outcome in self._measurer.wait(timeout):
            trial = outcome.tag
            record = self._record(trial, outcome)
            self._store.append(record)
            self.measured.append(record)
            trial.arm.state.pending -= 1
            trial.work.state.pending -= 1
            trial.work.measured += 1
            trial.work.state.add(trial.arm.state, record.seconds)
            trial.work.libraries.keep(record, outcome.library)
            trial.arm.unlearnt.append((trial.proposal, record.seconds))
            self._watch.add("verifying", outcome.measurement.checking)
            self._progress.trial(record, trial.work.state.best)

    def _confirm(self) -> None:
        """Compare the leaders of every task that this run measured something of."""
        touched = [
            (work.task.key, work.task.mod, work.arguments, work.libraries)
            for work in self._work
            if work.measured and work.arguments is not None
        ]
        with self._watch.timed("confirming"):
            Confirmer(self._store, self._measurer, self._checker).run(touched, lambda: self._stop.requested)

    def phases(self) -> Phases:
        """Seconds by phase so far."""
        own, training = self._watch.seconds, self._model.seconds
        seconds = {**own, **self._measurer.watch.seconds}
        seconds.update(sampling=own["sampling"] - training, model=own["model"] + training)
        return Phases(**seconds)

    def _teach(self, arm: _Arm) -> None:
        """Hand a search what it has not learnt from yet, right before it is asked again."""
        if arm.unlearnt and arm.strategy is not None:
            results, arm.unlearnt = arm.unlearnt, []
            arm.strategy.observe(results)

    def _record(self, trial: _Trial, outcome: Outcome[_Trial]) -> TrialRecord:
        task, measurement = trial.work.task, outcome.measurement
        try:
            trace = trace_json(trial.proposal.schedule)
        except TVM_ERRORS as error:
            raise LogStoreError(f"the trace of a candidate for {task.name} is not JSON: {error}") from None
        config = trial.proposal.config
        return TrialRecord(
            task_key=task.key,
            task_name=task.name,
            kind=task.kind,
            tuner=trial.arm.state.tuner,
            config=None if config is None else config.as_dict(),
            trace=trace,
            status=measurement.status,
            run_secs=measurement.run_secs,
            error=measurement.error,
            timestamp=time.time(),
            trial=self._store.next_trial(),
            source=trial.proposal.source,
            features=stored_features(trial.proposal.features),
            noise=measurement.noise,
            mhz=measurement.mhz,
        )

    def _finish_begun(self) -> None:
        """After a request to stop: keep what workers are busy with, drop what waits."""
        self._measurer.cancel()
        deadline = time.monotonic() + self._options.timeout
        while self._measurer.in_flight and time.monotonic() < deadline:
            self._collect(_WAIT)
            self._measurer.cancel()
