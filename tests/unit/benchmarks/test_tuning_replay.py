"""Searches on recorded measurements: how they are compared, and how good they are on what was recorded."""

from __future__ import annotations

import gzip
import json
import math
from pathlib import Path

import pytest

from autotune_qnn.errors import UsageError
from autotune_qnn.kernels.templates.base import Config, Knob
from benchmarks.lib.recordings import Table, read, read_all
from benchmarks.lib.tuning_replay import (
    Result,
    Search,
    Start,
    markdown,
    network_rows,
    repeated,
    run,
    searches,
    task_row,
)

RECORDINGS = Path(__file__).resolve().parents[3] / "benchmarks" / "recordings"


def table(name: str, seconds: list[float], weight: int = 1) -> Table:
    """A task with one knob, of which the first value is the default."""
    configs = [Config.of(a=place) for place in range(len(seconds))]
    rows = {config: ((float(config["a"]),), value) for config, value in zip(configs, seconds, strict=True)}
    return Table(name, (Knob("a", tuple(range(len(seconds)))),), configs[0], rows, "cpu", weight)


def test_a_network_is_as_fast_as_its_tasks_by_their_weights() -> None:
    slow, fast = table("slow", [4.0, 2.0], weight=1), table("fast", [2.0, 1.0], weight=3)
    random, guided = Search("random", guided=False), Search("xgboost", guided=True)
    results = [
        Result(slow, random, [[2.0, 2.0, 2.0, 1.0]]),
        Result(slow, guided, [[2.0, 1.0]]),
        Result(fast, random, [[2.0, 1.0], [2.0, 2.0, 2.0, 1.0]]),
        Result(fast, guided, [[1.0, 1.0]]),
    ]
    (row,) = network_rows(results, 4)
    assert row["trials"] == 4
    assert row["latency"] == {"random": 1.0, "xgboost": 1.0}
    assert row["needed"] == {"xgboost": 2}
    assert row["share"] == {"xgboost": 0.5}
    assert "| 4 | 1.0000 | 1.0000 | 2 | 0.5 |" in markdown([task_row(results[0], 4)], [row])


def test_what_is_never_reached_has_no_number_of_trials() -> None:
    only = table("t", [2.0, 1.0])
    results = [
        Result(only, Search("random", guided=False), [[2.0, 1.0]]),
        Result(only, Search("xgboost", guided=True), [[2.0, 2.0]]),
    ]
    assert network_rows(results, 4)[0]["needed"] == {"xgboost": None}


def test_a_search_begins_where_it_is_told() -> None:
    only = table("t", [5.0, math.inf, *(1.0 + place for place in range(30))])
    random = Search("random", guided=False)
    assert run([only], random, 0, 4, Start.DEFAULT)[0][0] == 5.0
    firsts = {run([only], random, seed, 4, Start.RANDOM)[0][0] for seed in range(8)}
    assert len(firsts) > 3
    assert math.inf not in firsts


def test_recordings_of_the_same_task_teach_nothing() -> None:
    own, other = table("own", [2.0, 1.0]), table("other", [2.0, 1.0])
    assert [how.name for how in searches([own], [own])] == ["random", "xgboost"]
    assert searches([own], [own, other])[-1].known == [other]


def test_recordings_of_other_features_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.json.gz"
    with gzip.open(path, "wt") as file:
        json.dump({"features": 0}, file)
    with pytest.raises(UsageError, match="record anew"):
        read(path)
    with pytest.raises(UsageError, match="no recordings"):
        read_all(tmp_path / "nothing")


@pytest.mark.parametrize("start", list(Start))
@pytest.mark.parametrize(("network", "seeds"), [("mobilenet_v2_tflite", 5), ("resnet18", 2)])
def test_the_cost_model_needs_half_of_random_searchs_trials(network: str, seeds: int, start: Start) -> None:
    """With half of the trials it is at least as good as random search with all of them, at every budget."""
    tables, most = read_all(RECORDINGS / network), 128
    random, guided = searches(tables, [])
    results = [
        *repeated(tables, random, seeds, most, start),
        *repeated(tables, guided, seeds, most // 2, start),
    ]
    shares = {row["trials"]: row["share"]["xgboost"] for row in network_rows(results, most)}
    assert list(shares) == [4, 8, 16, 32, 64, 128]
    assert all(share is not None and share <= 0.5 for share in shares.values()), shares
