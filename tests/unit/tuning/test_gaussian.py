from __future__ import annotations

import numpy as np
import pytest

from autotune_qnn.tuning import gaussian
from autotune_qnn.tuning.cost_model import SpeedModel
from autotune_qnn.tuning.estimate import derived, estimate
from autotune_qnn.tuning.features import NAMES


def kernel_features(**values: float) -> np.ndarray:
    """One row: a convolution with 2¹⁶ instructions in 2⁸ tiles of 8 accumulators, but for `values`."""
    plain = {"hot_steps": 16.0, "hot_outside": 8.0, "hot_accumulators": 8.0, "hot_loads_per_step": 0.75}
    found = {**dict.fromkeys(NAMES, 0.0), **plain, **values}
    return np.asarray([[found[name] for name in NAMES]])


def test_the_estimate_knows_latency_loads_traffic_and_spilling() -> None:
    plain = estimate(kernel_features())[0]
    assert plain == pytest.approx(-16.0, abs=0.05), "one instruction a cycle"
    assert estimate(kernel_features(hot_accumulators=1.0))[0] == pytest.approx(plain - 2.0, abs=0.05)
    assert estimate(kernel_features(hot_loads_per_step=3.0))[0] < plain - 0.5
    near, far = (
        estimate(kernel_features(hot_bytes_read=21.0, **{f"hot_traffic_{size}k": 24.0}))[0]
        for size in (32, 512)
    )
    assert far < near < plain - 0.5
    assert estimate(kernel_features(hot_accumulators=100.0))[0] < plain
    assert estimate(kernel_features(code=12.0))[0] < estimate(kernel_features(code=8.0))[0] == plain


def test_the_estimate_knows_that_what_stays_in_the_second_cache_is_not_fetched_again() -> None:
    plain, *found = (
        float(estimate(kernel_features(hot_bytes_read=read, hot_traffic_512k=traffic))[0])
        for read, traffic in ((18.0, 0.0), (18.0, 24.0), (20.25, 24.0), (21.0, 24.0), (23.0, 24.0))
    )
    assert found[0] == plain > found[1] > found[2] == found[3]


def test_the_estimate_lets_most_of_the_shorter_pass_during_the_longer() -> None:
    outputs = np.log2(1 + 2**16 / 26)
    both = float(estimate(kernel_features(other_steps=outputs))[0])
    assert both == pytest.approx(-16.0 - np.log2(1.2), abs=0.05)


def test_the_estimate_lets_woven_outputs_pass_during_sums_while_registers_last() -> None:
    outputs = np.log2(1 + 2**16 / 26)

    def gain(accumulators: float) -> float:
        rows = [
            kernel_features(other_steps=outputs, hot_accumulators=accumulators, hot_woven=turns)
            for turns in (0.0, 6.0)
        ]
        return float(estimate(rows[1])[0] - estimate(rows[0])[0])

    assert gain(8.0) > 0.0 > gain(14.0)


def test_what_was_expected_and_does_not_show_is_believed_no_longer() -> None:
    model = SpeedModel().task("t")
    rows = [tuple(kernel_features(hot_accumulators=float(count))[0]) for count in (1, 2, 3, 4)]
    before = np.ptp(model.scores(rows))
    assert before > 1.5, "few accumulators should be slow"
    for row in rows:
        model.add(row, 1e-3)
    assert np.ptp(model.scores(rows)) < 0.1 * before


def test_of_what_was_expected_the_fastest_tell_how_much_is_there() -> None:
    rows = [tuple(kernel_features(hot_loads_per_step=loads)[0]) for loads in (0.5, 2.2, 2.6, 3.0, 9.0, 12.0)]
    slow = [1.0, 1.0, 1.0, 1.0, 4.0, 5.0]
    model = SpeedModel().task("t")
    for row, seconds in zip(rows, slow, strict=True):
        model.add(row, seconds)
    fast = model.scores(rows)[:4]
    assert np.ptp(fast) < 0.3 * np.ptp(SpeedModel().task("t").scores(rows)[:4])


def test_what_was_measured_tells_of_what_is_like_it() -> None:
    rows = [tuple(kernel_features(code=code)[0]) for code in np.linspace(0.0, 8.0, 21)]
    model = SpeedModel().task("t")
    for place in range(0, 21, 4):
        model.add(rows[place], 1.0 + 0.02 * place)
    scores = model.scores(rows)
    assert scores[1] > scores[7] > scores[13], "between those measured too"


def test_features_of_another_version_are_estimated_alike() -> None:
    assert not estimate(np.ones((3, 2))).any()
    assert derived(np.ones((3, 2))).shape == (3, 2)
    assert derived(kernel_features()).shape == (1, len(NAMES) + 5)


def test_picks_are_high_and_unlike_each_other() -> None:
    places = np.asarray([[0.0], [0.01], [0.02], [3.0], [6.0]])
    mean = np.asarray([1.0, 0.99, 0.98, 0.9, 0.2])
    nothing = np.zeros((0, 1))
    assert gaussian.pick(mean, places, nothing, 0.5, 0.0, 3) == [0, 1, 2], "without curiosity the best"
    assert gaussian.pick(mean, places, nothing, 0.5, 0.5, 3)[:2] == [0, 3]
    assert gaussian.pick(mean, places, np.asarray([[0.0]]), 0.5, 0.5, 1) == [3], "the first is known already"
    assert sorted(gaussian.pick(mean, places, nothing, 0.5, 0.5, 9)) == [0, 1, 2, 3, 4]


def test_regression_passes_through_what_is_known_and_returns_to_the_mean() -> None:
    known = np.asarray([[0.0], [1.0]])
    found = gaussian.regress(known, np.asarray([1.0, 3.0]), np.asarray([[0.0], [1.0], [50.0]]), 0.35, 1e-6)
    assert found == pytest.approx([1.0, 3.0, 2.0], abs=1e-3)


def test_columns_that_never_vary_count_for_nothing() -> None:
    rows = np.asarray([[1.0, 5.0, 2.0], [3.0, 5.0, 2.0]])
    assert gaussian.scaled(rows).shape == (2, 1)
    assert not gaussian.scaled(np.ones((4, 2))).any()
