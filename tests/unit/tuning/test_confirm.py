"""The end of a run: what wins, and that nothing wins that computes something else."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import tvm
from matmul_task import HEADER, HostTarget, MatmulTask, MatmulTemplate
from tvm.script import tirx as T  # noqa: N812 - TVMScript is written with T

from autotune_qnn.kernels.templates.base import Config, ConfigSpace, Knob
from autotune_qnn.logs import LogStore, Status, TrialRecord, TunerName
from autotune_qnn.logs.pool import RecordPool
from autotune_qnn.tuning.confirm import LEADERS, Libraries, _Contest
from autotune_qnn.tuning.options import TuneOptions, TunerChoice
from autotune_qnn.tuning.run_worker import Measurement
from autotune_qnn.tuning.tuner import tune

CHEAT = "test_a_product_that_is_not_there"


def register_cheat() -> None:
    """An intrinsic that claims to multiply and does nothing, as a defective kernel might."""

    @T.prim_func(s_tir=True)
    def claimed(a: T.handle, b: T.handle, c: T.handle) -> None:
        A = T.match_buffer(a, (1,), "uint8", offset_factor=1)
        B = T.match_buffer(b, (16,), "int8", offset_factor=1)
        C = T.match_buffer(c, (16,), "int32", offset_factor=1)
        with T.sblock("root"):
            T.reads(C[0:16], A[0:1], B[0:16])
            T.writes(C[0:16])
            for j in range(16):
                with T.sblock("update"):
                    v = T.axis.remap("S", [j])
                    C[v] = C[v] + T.Cast("int32", A[0]) * T.Cast("int32", B[v])

    @T.prim_func(s_tir=True)
    def done(a: T.handle, b: T.handle, c: T.handle) -> None:
        A = T.match_buffer(a, (1,), "uint8", offset_factor=1)
        B = T.match_buffer(b, (16,), "int8", offset_factor=1)
        C = T.match_buffer(c, (16,), "int32", offset_factor=1)
        with T.sblock("root"):
            T.reads(C[0:16], A[0:1], B[0:16])
            T.writes(C[0:16])
            C[0] = 0

    tvm.s_tir.TensorIntrin.register(CHEAT, claimed, done, override=True)


@dataclass(frozen=True)
class CheatingTemplate:
    """Tiles of rows; with `cheat` the products are left out, which is a great deal faster."""

    size: int
    name: str = "cheating"

    def space(self) -> ConfigSpace:
        return ConfigSpace((Knob("rows", (1, 2, 4, 8)), Knob("cheat", (0, 1))))

    def default(self) -> Config:
        return Config.of(rows=1, cheat=0)

    def apply(self, sch: Any, config: Config) -> None:
        block = sch.get_sblock("matmul")
        i, j, k = sch.get_loops(block)
        outer_i, inner_i = sch.split(i, [None, config["rows"]])
        outer_j, inner_j = sch.split(j, [None, 16])
        sch.reorder(outer_i, outer_j, k, inner_i, inner_j)
        if not config["cheat"]:
            sch.vectorize(inner_j)
            sch.decompose_reduction(block, k)
            return
        register_cheat()
        sch.decompose_reduction(block, k)
        sch.tensorize(sch.blockize(inner_j), CHEAT)


@dataclass(frozen=True)
class CheatingTask(MatmulTask):
    def template(self) -> Any:
        return CheatingTemplate(self.size)


def options(trials: int) -> TuneOptions:
    return TuneOptions(TunerChoice.AUTOTVM, trials=trials, repeat=3, min_repeat_ms=0.1, batch=4)


def test_a_fast_kernel_that_computes_something_else_never_wins(tmp_path: Path) -> None:
    task = CheatingTask(64)
    with LogStore.open(tmp_path, "llvm", "toy", HEADER) as store:
        tune([task], HostTarget(), store, options(8))
        by_cheat = {
            cheat: {
                record.status
                for record in store.records(task.key)
                if dict(record.config or {})["cheat"] == cheat
            }
            for cheat in (0, 1)
        }
        assert by_cheat == {0: {Status.OK}, 1: {Status.WRONG_RESULT}}
        assert all(dict(record.config or {})["cheat"] == 0 for record in store.ranked(task.key))


def test_the_winner_of_a_run_was_compared_with_the_default(tmp_path: Path) -> None:
    task = MatmulTask(32)
    with LogStore.open(tmp_path, "llvm", "toy", HEADER) as store:
        tune([task], HostTarget(), store, options(10))
        compared = [record for record in store.ranked(task.key) if record.confirmation is not None]
        assert 2 <= len(compared) <= LEADERS + 2
        default = MatmulTemplate(32).default().as_dict()
        assert default in [dict(record.config or {}) for record in compared]
        assert [record.confirmation.rank for record in compared if record.confirmation] == list(
            range(len(compared))
        )
        assert all(record.features and record.noise >= 1 for record in store.records())
        tune([task], HostTarget(), store, options(14))
        again = store.best(task.key)
        assert again is not None
        assert again.confirmation is not None
        assert again.confirmation.session > (
            compared[0].confirmation.session if compared[0].confirmation else 0
        )


def made(trial: int, seconds: float, rows: int) -> TrialRecord:
    config = {"rows": rows, "columns": 16, "unroll": 1}
    return TrialRecord(
        "k",
        "k",
        "dense",
        TunerName.AUTOTVM,
        config,
        [[], []],
        Status.OK,
        (seconds,),
        "",
        0.0,
        trial,
        "matmul_tiles",
    )


@pytest.mark.parametrize(("default_secs", "winner"), [(1.004e-3, 0), (1.02e-3, 1)])
def test_the_default_wins_unless_something_is_clearly_faster(default_secs: float, winner: int) -> None:
    libraries = Libraries(MatmulTemplate(32))
    records = [made(0, 2e-3, 4), made(1, 1e-3, 8)]
    contest = _Contest(None, Path(), libraries, records)
    for record, seconds in zip(records, (default_secs, 1e-3), strict=True):
        contest.results[record.trial] = Measurement(Status.OK, (seconds,))
    assert contest.ranked()[0].trial == winner


def test_only_libraries_that_may_be_wanted_are_kept(tmp_path: Path) -> None:
    libraries = Libraries(MatmulTemplate(32))
    default = made(0, 9e-3, 4)
    counter = itertools.count()
    for record in (default, *(made(trial, 1e-3 * trial, 8) for trial in (5, 3, 1, 4, 2))):
        path = tmp_path / f"{next(counter)}.so"
        path.touch()
        libraries.keep(record, path)
    libraries.keep(made(9, 1e-9, 8), None)
    assert len(list(tmp_path.iterdir())) == LEADERS + 1
    assert libraries.library(default) is not None
    assert [libraries.library(made(trial, 0.0, 8)) is not None for trial in (1, 2, 3, 4, 5)] == [True] * 3 + [
        False
    ] * 2


def test_other_logs_give_a_warm_start(tmp_path: Path) -> None:
    """The same task in another model's log, and a similar one."""
    with LogStore.open(tmp_path, "llvm", "other", replace(HEADER, model="other")) as store:
        tune([MatmulTask(32), MatmulTask(64)], HostTarget(), store, options(24))
        best = store.best(MatmulTask(32).key)
    assert best is not None
    with LogStore.open(tmp_path, "llvm", "toy", HEADER) as store:
        pool = RecordPool.open([tmp_path], HEADER, lambda _: True, lambda _: True, store.path)
        task = MatmulTask(32)
        found = pool.ranked(task.key, store.ranked(task.key))[0]
        assert (found.trial, found.config) == (best.trial, best.config), "a build needs no trial of its own"
        summary = tune([task, MatmulTask(16)], HostTarget(), store, options(8), pool=pool)
        assert (summary.warm.logs, summary.warm.same_tasks) == (1, 1)
        assert summary.warm.records >= 20
        assert dict(best.config or {}) in [
            dict(record.config or {}) for record in store.records(task.key)[:4]
        ]


def test_what_a_busy_machine_measured_gets_a_second_look() -> None:
    libraries = Libraries(MatmulTemplate(32))
    quiet = [made(trial, 1e-3 + 1e-6 * trial, 8) for trial in range(5)]
    busy = replace(made(7, 1.5e-3, 2), noise=1.6)
    assert busy in libraries.candidates([*quiet, busy])
    assert replace(busy, noise=1.0) not in libraries.candidates([*quiet, replace(busy, noise=1.0)])
