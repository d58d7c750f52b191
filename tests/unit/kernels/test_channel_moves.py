"""Where channels come from, and which concatenations are computed in turns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tvm import relax

from autotune_qnn import dialect as q
from autotune_qnn.dialect import constant
from autotune_qnn.engines.relax import TargetSpec, lower
from autotune_qnn.kernels.channel_moves import channel_sources
from tests.support.configured import check, compiled, runnable, template_of


def _calls(shape: tuple[int, ...], *moves: Callable[[Any], Any]) -> list[Any]:
    """The calls that apply the moves one after the other."""
    builder, found = relax.BlockBuilder(), []
    variable = relax.Var("x", relax.TensorType(shape, "uint8"))
    with builder.function("main", [variable]):
        for move in moves:
            found.append(builder.normalize(move(variable)))
            variable = builder.emit(found[-1])
        builder.emit_func_output(variable)
    return found


def test_a_shuffle_and_a_cut() -> None:
    calls = _calls(
        (1, 2, 3, 8),
        lambda x: relax.op.reshape(x, (1, 2, 3, 2, 4)),
        lambda x: relax.op.permute_dims(x, [0, 1, 2, 4, 3]),
        lambda x: relax.op.reshape(x, (1, 2, 3, 8)),
        lambda x: relax.op.strided_slice(x, [3], [2], [6]),
    )
    sources = channel_sources(calls)
    assert sources is not None
    assert sources.tolist() == [1, 5, 2, 6]


@pytest.mark.parametrize(
    "move",
    [
        lambda x: relax.op.permute_dims(x, [0, 2, 1, 3]),
        lambda x: relax.op.reshape(x, (1, 9, 8)),
        lambda x: relax.op.strided_slice(x, [1], [0], [2]),
    ],
    ids=["rows and columns", "another shape", "fewer rows"],
)
def test_other_moves(move: Callable[[Any], Any]) -> None:
    assert channel_sources(_calls((1, 3, 3, 8), move)) is None


def _unit(used_twice: bool) -> Any:
    """A concatenation of two inputs, its channels in turns, both halves, and perhaps a use of all of them."""
    builder = relax.BlockBuilder()
    inputs = [relax.Var(name, relax.TensorType((1, 4, 4, 20), "uint8")) for name in "xy"]
    scales = relax.Tuple([constant(0.1, "float32"), constant(0.2, "float32")])
    zeros = relax.Tuple([constant(0, "int32")] * 2)
    with builder.function("main", inputs):
        with builder.dataflow():
            joined = q.concatenate(
                relax.Tuple(inputs), scales, zeros, constant(0.15, "float32"), constant(7, "int32"), axis=3
            )
            value = builder.emit(joined)
            value = builder.emit(relax.op.reshape(value, (1, 4, 4, 2, 20)))
            value = builder.emit(relax.op.permute_dims(value, [0, 1, 2, 4, 3]))
            value = builder.emit(relax.op.reshape(value, (1, 4, 4, 40)))
            results = [relax.op.strided_slice(value, [3], [first], [first + 20]) for first in (0, 20)]
            if used_twice:
                results.append(relax.op.clip(value, 3, 90))
            output = builder.emit_output(relax.Tuple([builder.emit(result) for result in results]))
        builder.emit_func_output(output)
    return builder.get()


def test_each_half_is_one_kernel() -> None:
    lowered = lower(_unit(False), TargetSpec.parse("llvm -mcpu=cascadelake"), 1)
    assert sorted(task.name for task in lowered.tasks) == [
        "concatenate_1x4x4x40_axis3_of2_turns_0at0_1at0",
        "concatenate_1x4x4x40_axis3_of2_turns_0at10_1at10",
    ]


def test_a_result_with_another_use_is_computed_once_and_whole() -> None:
    lowered = lower(_unit(True), TargetSpec.parse("llvm -mcpu=cascadelake"), 1)
    names = [task.name for task in lowered.tasks]
    assert names.count("concatenate_1x4x4x40_axis3_of2_turns_0at0_1at0") == 1
    assert sum("concatenate" in name for name in names) == 1


@pytest.mark.parametrize("task", [0, 1])
def test_every_configuration_computes_the_reference(task: int) -> None:
    target = runnable("llvm -mcpu=haswell")
    found = lower(_unit(False), target, 2).tasks[task]
    template, values = template_of(found), found.arguments(seed=5)
    configs = list(template.space().enumerate())
    assert template.default() in configs
    for config in configs:
        check(compiled(found, target, template, config), *values, config)
