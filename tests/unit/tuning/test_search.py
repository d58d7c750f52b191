from __future__ import annotations

import math
import random
import statistics

import pytest
from matmul_task import MatmulTask, MatmulTemplate

from autotune_qnn.engines.relax import TargetSpec, lower
from autotune_qnn.kernels.templates.base import Config, ConfigSpace, Knob
from autotune_qnn.tuning.cost_model import SpeedModel, TaskModel, labels
from autotune_qnn.tuning.features import NAMES, features, shape_of, workload_shape
from autotune_qnn.tuning.replay import new_schedule
from autotune_qnn.tuning.search import KnobSearch, nearest
from tests.support.networks import ConvCase

SPACE = ConfigSpace(
    (Knob("a", (1, 2, 4, 8, 16)), Knob("b", (1, 2, 4, 8, 16)), Knob("c", tuple(range(12)))),
    lambda values: values["a"] * values["b"] <= 64,
)


def described(config: Config) -> tuple[float, ...]:
    return (math.log2(config["a"] * config["b"]), 1 / config["a"] + 1 / config["b"], float(config["c"] % 3))


def pretended(config: Config) -> float:
    """A latency that depends on the product and the sum of two knobs, as register tiles do."""
    size, loads, odd = described(config)
    return 1e-3 * (1 + abs(size - 4) + 2 * loads + 0.3 * odd + 0.001 * config["c"])


def run(seed: int, trials: int, model: TaskModel, *, guided: bool = True) -> list[float]:
    search = KnobSearch(SPACE, Config.of(a=1, b=1, c=0), described, model, seed, guided=guided)
    found: list[float] = []
    while len(found) < trials:
        for config in search.propose(8):
            found.append(pretended(config))
            search.observe(config, found[-1])
    return found[:trials]


def trials_to_best(found: list[float]) -> int:
    best = min(map(pretended, SPACE.enumerate()))
    return next((place + 1 for place, value in enumerate(found) if value <= 1.01 * best), 2 * len(found))


def test_the_model_needs_less_than_half_of_random_searchs_trials() -> None:
    guided = [trials_to_best(run(seed, 120, SpeedModel().task("t"))) for seed in range(8)]
    blind = [trials_to_best(run(seed, 120, SpeedModel().task("t"), guided=False)) for seed in range(8)]
    assert statistics.mean(guided) < statistics.mean(blind) / 2


def test_other_tasks_teach_where_to_begin() -> None:
    model = SpeedModel()
    rng = random.Random(5)
    samples = [
        (described(config), 7 * pretended(config)) for config in rng.sample(list(SPACE.enumerate()), 80)
    ]
    assert model.learn("another task", samples) == 80
    warm = [trials_to_best(run(seed, 60, _primed(samples))) for seed in range(6)]
    cold = [trials_to_best(run(seed, 60, SpeedModel().task("t"))) for seed in range(6)]
    assert statistics.mean(warm) < 0.7 * statistics.mean(cold)


def _primed(samples: list[tuple[tuple[float, ...], float]]) -> TaskModel:
    model = SpeedModel()
    model.learn("another task", samples)
    return model.task("t")


def test_what_is_given_comes_right_after_the_default_and_nothing_twice() -> None:
    first = [Config.of(a=4, b=4, c=3), Config.of(a=16, b=16, c=0), Config.of(a=2, b=2, c=2)]
    model = SpeedModel().task("t")
    search = KnobSearch(SPACE, Config.of(a=1, b=1, c=0), described, model, 0, first=first)
    search.restore(Config.of(a=2, b=2, c=2), 1.0)
    seen = search.propose(4)
    assert seen[:2] == [Config.of(a=1, b=1, c=0), first[0]], "what is invalid or known already is left out"
    while batch := search.propose(50):
        for config in batch:
            search.observe(config, pretended(config))
        seen.extend(batch)
    assert len(seen) == len(set(seen)) == len(list(SPACE.enumerate())) - 1


def test_a_space_too_large_to_list_is_sampled() -> None:
    space = ConfigSpace(tuple(Knob(f"k{i}", tuple(range(10))) for i in range(6)))
    model = SpeedModel().task("t")
    default = Config(tuple((knob.name, 5) for knob in space.knobs))
    search = KnobSearch(space, default, lambda c: tuple(float(v) for _, v in c.values), model, 0)
    best = math.inf
    for _ in range(20):
        for config in search.propose(12):
            seconds = 1e-3 * (1 + sum(value for _, value in config.values))
            search.observe(config, seconds)
            best = min(best, seconds)
    assert best < 0.012, "a sum of at most 10, of 0 to 54"


def test_labels_are_relative_to_the_best() -> None:
    assert list(labels([2.0, 1.0, math.inf, 4.0])) == [-1.0, 0.0, -6.0, -2.0]
    assert list(labels([math.inf])) == [-6.0]


def test_a_model_without_data_says_nothing() -> None:
    model = SpeedModel().task("t")
    assert not model.ready
    assert not model.scores([(1.0, 2.0)]).any()


def test_a_task_of_failures_teaches_nobody() -> None:
    model = SpeedModel()
    assert model.learn("bad", [((float(i),), math.inf) for i in range(50)]) == 0
    assert model.prior("other") is None


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"a": 4, "b": 4, "c": 3}, Config.of(a=4, b=4, c=3)),
        ({"a": 5, "b": 3, "c": 100}, Config.of(a=4, b=4, c=11)),
        ({"c": 2, "unknown": 9}, Config.of(a=1, b=1, c=2)),
        ({"a": 16, "b": 16, "c": 0}, Config.of(a=4, b=16, c=0)),
    ],
)
def test_configurations_carry_over_to_other_spaces(values: dict[str, int], expected: Config) -> None:
    assert nearest(SPACE, values) == expected


def test_no_configuration_where_none_is_valid() -> None:
    assert nearest(ConfigSpace((Knob("a", (1, 2)),), lambda _: False), {"a": 1}) is None


def feature_values(size: int, **knobs: int) -> dict[str, float]:
    task = MatmulTask(size)
    schedule = new_schedule(task.mod)
    MatmulTemplate(size).apply(schedule, Config.of(**knobs))
    return dict(zip(NAMES, features(schedule.mod, task.macs, 1), strict=True))


def test_features_count_registers_loads_and_steps() -> None:
    found = feature_values(64, rows=4, columns=16, unroll=1)
    assert found["hot_accumulators"] == 4
    assert found["hot_loads"] == 5, "four values of the left side, one vector of the right"
    assert found["hot_registers"] == 6
    assert found["hot_loads_per_step"] == 1.25
    assert found["hot_lanes"] == round(math.log2(17), 3)
    assert found["hot_reduction"] == round(math.log2(65), 3)
    assert found["hot_steps"] == round(math.log2(1 + 64**3 / 16), 3)
    assert found["plain_steps"] == 0.0, "every leaf is vectorized"
    assert feature_values(64, rows=4, columns=16, unroll=0)["hot_accumulators"] == 1


def test_features_tell_what_annotations_ask_for() -> None:
    task = lower(ConvCase(14, 14, 96, 64).module(), TargetSpec.parse("llvm -mcpu=cascadelake"), 1).tasks[0]
    template = task.template()
    assert template is not None
    default = template.default().replace(rows=2, columns=2, blocks=2, quads=4, band=7)

    def seen(**knobs: int) -> dict[str, float]:
        schedule = new_schedule(task.mod)
        template.apply(schedule, default.replace(**knobs))
        return dict(zip(NAMES, features(schedule.mod, task.macs, 1), strict=True))

    plain, woven, fetched = seen(weave=0, fetch=0), seen(weave=1, fetch=0), seen(weave=0, fetch=1)
    assert plain["hot_woven"] == plain["hot_fetched"] == plain["hot_fetched_between"] == 0.0
    assert woven["hot_woven"] == round(math.log2(1 + 49), 3), "turns of the loop over tiles"
    assert fetched["hot_fetched"] + fetched["hot_fetched_between"] > 0.0
    assert {name for name in NAMES if woven[name] != plain[name]} == {"hot_woven"}


def test_features_tell_shapes_apart_from_schedules() -> None:
    task = MatmulTask(64)
    one = tuple(feature_values(64, rows=4, columns=16, unroll=1).values())
    other = tuple(feature_values(64, rows=2, columns=8, unroll=0).values())
    assert one != other
    assert shape_of(one) == shape_of(other) == workload_shape(task.mod, task.macs)
    assert shape_of(one) != shape_of(tuple(feature_values(32, rows=4, columns=16, unroll=1).values()))
