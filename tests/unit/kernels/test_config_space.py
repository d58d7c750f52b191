from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune_qnn.kernels.templates.base import Config, ConfigSpace, Knob, ScheduleRejected

SPACE = ConfigSpace(
    (Knob("tile", (1, 2, 4, 8)), Knob("unroll", (0, 1)), Knob("grain", (1, 3))),
    lambda values: values["tile"] * values["grain"] <= 8,
)
NOTHING = ConfigSpace((Knob("a", (1, 2)),), lambda values: False)


def test_size_is_before_the_constraint_and_enumeration_after() -> None:
    assert len(SPACE) == 16
    valid = list(SPACE.enumerate())
    assert len(valid) == len(set(valid)) == 12
    assert all(SPACE.is_valid(config) for config in valid)


@given(st.integers(0, 1 << 30))
def test_every_move_stays_valid(seed: int) -> None:
    rng = random.Random(seed)
    first, second = SPACE.sample(rng), SPACE.sample(rng)
    assert SPACE.is_valid(first)
    child = SPACE.crossover(first, second, rng)
    assert SPACE.is_valid(child)
    assert all(pair in (*first.values, *second.values) for pair in child.values)
    mutant = SPACE.mutate(first, rng)
    assert SPACE.is_valid(mutant)
    assert mutant != first


def test_neighbours_differ_in_one_knob() -> None:
    for config in SPACE.enumerate():
        for other in SPACE.neighbours(config):
            assert SPACE.is_valid(other)
            assert sum(a != b for a, b in zip(config.values, other.values, strict=True)) == 1


def test_foreign_configurations_are_invalid() -> None:
    good = Config.of(tile=1, unroll=0, grain=1)
    assert SPACE.is_valid(good)
    assert not SPACE.is_valid(Config.of(tile=3, unroll=0, grain=1))
    assert not SPACE.is_valid(Config.of(unroll=0, tile=1, grain=1))
    assert not SPACE.is_valid(good.replace(tile=8, grain=3))
    with pytest.raises(KeyError):
        good.replace(other=1)
    assert good["unroll"] == 0
    assert Config.from_mapping(good.as_dict()) == good


def test_an_empty_space_says_so() -> None:
    with pytest.raises(ScheduleRejected, match="no valid configuration"):
        NOTHING.sample(random.Random(0))


def test_impossible_knobs_are_refused() -> None:
    with pytest.raises(ValueError, match="no value"):
        Knob("a", ())
    with pytest.raises(ValueError, match="repeats"):
        Knob("a", (1, 1))
    with pytest.raises(ValueError, match="repeat"):
        ConfigSpace((Knob("a", (1,)), Knob("a", (2,))))
