from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from autotune_qnn.tuning.arguments import Arguments, write_arguments
from autotune_qnn.tuning.protocols import Task

INPUTS = [np.arange(6, dtype=np.int8).reshape(2, 3), np.float32([0.5, -1.5])]
EXPECTED = [np.array([[1, 2]], dtype=np.uint8), np.float32([0.25])]


def _asked(seed: int) -> tuple[list[Any], list[Any]]:
    assert seed == 7
    return [*INPUTS, *(np.zeros_like(array) for array in EXPECTED)], EXPECTED


@pytest.fixture
def arguments(tmp_path: Path) -> Arguments:
    """Of a task with two inputs and two outputs, as read from its file."""
    write_arguments(tmp_path / "task.npz", cast(Task, SimpleNamespace(arguments=_asked)), 7)
    return Arguments(str(tmp_path / "task.npz"))


def test_what_was_written_is_read(arguments: Arguments) -> None:
    assert len(arguments.tensors) == 4
    for tensor, array in zip(arguments.tensors, INPUTS, strict=False):
        np.testing.assert_array_equal(tensor.numpy(), array)
    for found, array in zip(arguments.expected, EXPECTED, strict=True):
        np.testing.assert_array_equal(found, array)
        assert found.dtype == array.dtype


def test_spoilt_outputs_differ_in_every_element(arguments: Arguments) -> None:
    for tensor, array in zip(arguments.outputs, EXPECTED, strict=True):
        tensor.copyfrom(array)
    assert arguments.difference() == ""
    arguments.spoil_outputs()
    assert arguments.difference() == "output 0: 2 of 2 elements differ"
    arguments.outputs[0].copyfrom(EXPECTED[0])
    assert arguments.difference() == "output 1: 1 of 1 elements differ"
