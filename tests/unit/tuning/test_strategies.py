from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest
import tvm
import tvm_ffi
from matmul_task import HostTarget, MatmulTask, MatmulTemplate, VnniTarget

from autotune_qnn.errors import LogStoreError
from autotune_qnn.kernels.intrinsics import register_all
from autotune_qnn.kernels.templates.base import Config
from autotune_qnn.logs import Status, TrialRecord, TunerName
from autotune_qnn.transforms.tir_pipeline import compile_kernel
from autotune_qnn.tuning.cost_model import SpeedModel, TaskModel
from autotune_qnn.tuning.replay import new_schedule, replay, trace_json
from autotune_qnn.tuning.strategies.base import Proposal, Strategy
from autotune_qnn.tuning.strategies.sketch import SketchStrategy
from autotune_qnn.tuning.strategies.template import TemplateStrategy
from autotune_qnn.tuning.strategies.vector_check import vectorizes_vectors
from autotune_qnn.tuning.trust import TraceChecker

TASK = MatmulTask(32)


def fresh_model() -> TaskModel:
    return SpeedModel().task(TASK.key)


def template_strategy(
    model: TaskModel | None = None, seed: int = 1, *, guided: bool = True
) -> TemplateStrategy:
    template = TASK.template()
    assert template is not None
    return TemplateStrategy(TASK, template, model or fresh_model(), seed, guided=guided)


def sketch_strategy(seed: int = 1, checker: TraceChecker | None = None) -> SketchStrategy:
    checker = checker or TraceChecker()
    return SketchStrategy(TASK, HostTarget(), fresh_model(), checker, threads=1, batch=8, seed=seed)


def pretended(proposal: Proposal) -> float:
    """A latency with one best configuration, for a machine that nobody has."""
    assert proposal.config is not None
    return 1e-3 * (1 + abs(proposal.config["rows"] - 8) + abs(proposal.config["columns"] - 32))


def record_of(proposal: Proposal, seconds: float, strategy: Strategy) -> TrialRecord:
    return TrialRecord(
        task_key=TASK.key,
        task_name=TASK.name,
        kind=TASK.kind,
        tuner=strategy.tuner,
        config=None if proposal.config is None else proposal.config.as_dict(),
        trace=json.loads(json.dumps(trace_json(proposal.schedule))),
        status=Status.OK if math.isfinite(seconds) else Status.CRASH,
        run_secs=(seconds,) if math.isfinite(seconds) else (),
        error="",
        timestamp=0.0,
        trial=0,
        source=proposal.source,
    )


def test_the_default_comes_first_and_nothing_twice() -> None:
    strategy = template_strategy()
    seen: list[Config] = []
    while not strategy.exhausted:
        proposals = strategy.propose(6)
        seen.extend(proposal.config for proposal in proposals if proposal.config is not None)
        strategy.observe([(proposal, pretended(proposal)) for proposal in proposals])
    assert seen[0] == MatmulTemplate(32).default()
    assert len(seen) == len(set(seen))
    space = MatmulTemplate(32).space()
    applicable = [c for c in space.enumerate() if not (c["rows"] == 32 and c["unroll"])]
    assert set(seen) == set(applicable)


def test_the_search_finds_the_best_early() -> None:
    strategy = template_strategy()
    found: list[float] = []
    while len(found) < 30:
        proposals = strategy.propose(6)
        found.extend(pretended(proposal) for proposal in proposals)
        strategy.observe([(proposal, pretended(proposal)) for proposal in proposals])
    assert min(found) == 1e-3


def test_equal_seeds_propose_equally() -> None:
    def configs(seed: int) -> list[Config | None]:
        return [proposal.config for proposal in template_strategy(seed=seed).propose(8)]

    assert configs(3) == configs(3)
    assert configs(3) != configs(4)


def test_a_resumed_template_search_repeats_nothing() -> None:
    first = template_strategy()
    proposals = first.propose(20)
    records = [record_of(proposal, pretended(proposal), first) for proposal in proposals]
    foreign = replace(records[0], source="another template")
    invalid = replace(records[0], config={"rows": 3, "columns": 1, "unroll": 0})
    second = template_strategy()
    assert second.restore([*records, foreign, invalid]) == 20
    fresh = {proposal.config for proposal in second.propose(20)}
    assert fresh
    assert not fresh & {proposal.config for proposal in proposals}


def test_sketches_are_new_each_time_and_resume() -> None:
    strategy = sketch_strategy()
    hashes: list[int] = []
    records: list[TrialRecord] = []
    for _ in range(3):
        proposals = strategy.propose(8)
        assert 0 < len(proposals) <= 8
        hashes.extend(tvm_ffi.structural_hash(proposal.schedule.mod) for proposal in proposals)
        results = [(proposal, 1e-3 / (place + 1)) for place, proposal in enumerate(proposals)]
        strategy.observe(results)
        records.extend(record_of(proposal, seconds, strategy) for proposal, seconds in results)
    assert len(hashes) == len(set(hashes))
    with TraceChecker() as checker:
        resumed = sketch_strategy(9, checker)
        assert resumed.restore(records) == len(records)
    later = {tvm_ffi.structural_hash(proposal.schedule.mod) for proposal in resumed.propose(8)}
    assert not later & set(hashes)


@pytest.mark.parametrize("threads", [1, 2])
def test_sketches_use_the_dot_product_and_can_be_lowered(threads: int) -> None:
    task = MatmulTask(96, packed=True)
    model = SpeedModel().task(task.key)
    strategy = SketchStrategy(task, VnniTarget(), model, TraceChecker(), threads=threads, batch=8, seed=1)
    proposals = strategy.propose(8)
    assert len(proposals) >= 4
    dotted = 0
    for proposal in proposals:
        assert not vectorizes_vectors(proposal.schedule.mod)
        library = compile_kernel(proposal.schedule.mod, VnniTarget().tvm())
        dotted += "vpdpbusd" in library.inspect_source("asm")
    assert dotted == len(proposals)


@pytest.mark.parametrize("vectorized", [False, True])
def test_a_loop_vectorized_around_vectors_is_found(vectorized: bool) -> None:
    register_all()
    schedule = new_schedule(MatmulTask(96, packed=True).mod)
    block = schedule.get_sblock("matmul")
    i, c, k, q = schedule.get_loops(block)
    outer, inner = schedule.split(c, [None, 16])
    schedule.reorder(i, k, outer, inner, q)
    dot = schedule.blockize(inner)
    if vectorized:
        schedule.vectorize(outer)
    schedule.decompose_reduction(dot, k)
    schedule.tensorize(dot, "aq_dot_16x4_vnni")
    assert vectorizes_vectors(schedule.mod) == vectorized


def test_a_failed_trial_teaches_too() -> None:
    strategy = template_strategy()
    proposals = strategy.propose(20)
    strategy.observe([(proposal, math.inf) for proposal in proposals])
    assert strategy.propose(4)


def test_random_search_asks_no_model() -> None:
    strategy = template_strategy(guided=False)
    first = strategy.propose(6)
    assert first[0].config == MatmulTemplate(32).default()
    strategy.observe([(proposal, pretended(proposal)) for proposal in first])
    assert {p.config for p in strategy.propose(50)}.isdisjoint({p.config for p in first})


def test_a_recorded_trace_replays_to_the_same_module() -> None:
    strategy = template_strategy()
    proposal = strategy.propose(1)[0]
    again = replay(record_of(proposal, 1e-3, strategy), TASK.mod)
    assert tvm_ffi.structural_equal(again.mod, proposal.schedule.mod)


def hostile_traces() -> list[Any]:
    sch = new_schedule(TASK.mod)
    loop = sch.get_loops(sch.get_sblock("matmul"))[0]
    sch.annotate(loop, "pragma_import_llvm", "define void @evil() { ret void }")
    return [
        None,
        [],
        [[], [], []],
        [{}, []],
        [[["GetSBlock", [], ["absent", "main"], ["b0"]]], []],
        [[["System", [], ["rm"], []]], []],
        [[[3]], []],
        [[["GetLoops", ["b9"], [], ["l0"]]], []],
        [[["SampleCategorical", [], [[1 << 80], [1.0]], ["v0"]]], []],
        [[], [[7, 1]]],
        [[["GetSBlock", [], [], []]] * 30_000, []],
        json.loads(json.dumps(trace_json(sch))),
    ]


@pytest.mark.parametrize("place", range(12))
def test_hostile_traces_are_log_errors(place: int) -> None:
    strategy = template_strategy()
    record = replace(record_of(strategy.propose(1)[0], 1e-3, strategy), trace=hostile_traces()[place])
    with pytest.raises(LogStoreError, match="record of trial 0") as caught:
        replay(record, TASK.mod)
    assert "\n" not in str(caught.value)


def test_a_trace_that_crashes_tvm_is_left_out() -> None:
    strategy = template_strategy()
    good = record_of(strategy.propose(1)[0], 1e-3, strategy)
    deadly = replace(good, trace=[[["GetSBlock", [], [None, "main"], ["b0"]]], []])
    with TraceChecker() as checker:
        assert checker.accepted([good, deadly, good], TASK.mod) == [good, good]
        assert len(checker.rejected) == 1


def test_a_trace_of_another_workload_does_not_apply() -> None:
    strategy = template_strategy()
    record = record_of(strategy.propose(1)[0], 1e-3, strategy)
    lhs = tvm.te.placeholder((4,), "int32", name="lhs")
    other = tvm.te.create_prim_func([lhs, tvm.te.compute((4,), lambda i: lhs[i] + 1, name="plus")])
    with pytest.raises(LogStoreError, match="does not apply"):
        replay(record, tvm.IRModule({"main": other.with_attr("global_symbol", "main")}))


def test_both_strategies_are_strategies() -> None:
    strategies: list[Strategy] = [template_strategy(), sketch_strategy()]
    assert [strategy.tuner for strategy in strategies] == [TunerName.AUTOTVM, TunerName.AUTOSCHEDULER]
