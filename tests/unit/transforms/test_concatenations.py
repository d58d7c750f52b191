"""Concatenations whose inputs are stored in their places by the kernels that compute them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import tvm
from tvm import relax

from autotune_qnn import dialect
from autotune_qnn.dialect import reference
from autotune_qnn.engines.relax import (
    LoweredModule,
    TargetSpec,
    TuningTask,
    apply_best,
    compile_module,
    lower,
)
from autotune_qnn.transforms.concatenations import separate_inputs
from autotune_qnn.transforms.grouping import bindings, operator_name
from tests.differential.kernel_list import ONE, SAME, conv
from tests.support.kernel_cases import Bench

NATIVE = TargetSpec.parse("native")
DATA = np.random.default_rng(0).integers(-128, 128, (1, 4, 5, 16)).astype(np.int8)
Network = Callable[[Bench, Any], Any]


def network(build: Network) -> Any:
    """A network of one int8 input of `DATA`'s shape."""
    builder = relax.BlockBuilder()
    data = relax.Var("data", relax.TensorType(DATA.shape, "int8"))
    with builder.function("main", [data]):
        with builder.dataflow():
            output = builder.emit_output(build(Bench(builder, "int8", 0), data))
        builder.emit_func_output(output)
    return builder.get()


def joined(b: Bench, *parts: Any, scales: tuple[float, ...] = (), axis: int = -1) -> Any:
    """The parts one behind the other in scale 0.1, each of which has a scale."""
    own = relax.Tuple([b.real(scale) for scale in scales or (0.1,) * len(parts)])
    zeros = relax.Tuple([b.zero] * len(parts))
    return b(dialect.concatenate(relax.Tuple(list(parts)), own, zeros, b.real(0.1), b.zero, axis=axis))


def called(lowered: LoweredModule) -> list[str]:
    """The kinds of the kernels that "main" calls, a star behind those that store in a larger tensor."""
    kinds = {name: task.kind for task in lowered.tasks for name in task.functions}
    names = {"relax.call_tir": "", "relax.call_tir_inplace": "*"}
    values = [binding.value for binding in bindings(lowered.mod["main"])]
    calls = [(value, names[operator_name(value)]) for value in values if operator_name(value) in names]
    found = [kinds[call.args[0].name_hint] + star for call, star in calls]
    return [kind for kind in found if kind != "plain"]


def check(
    mod: Any, *, threads: int = 1, scheduled: Callable[[TuningTask], Any] | None = None
) -> LoweredModule:
    """Build the network and compare it with the dialect's reference."""
    lowered = lower(mod, NATIVE, threads)
    module, coverage = apply_best(lowered, scheduled) if scheduled else apply_best(lowered)
    assert coverage.tuned + coverage.fallback == len(lowered.tasks)
    machine = relax.VirtualMachine(compile_module(module, NATIVE), tvm.cpu())
    found = machine["main"](tvm.runtime.tensor(DATA)).numpy()
    np.testing.assert_array_equal(found, reference.run(mod, [DATA])[0], strict=True)
    return lowered


def two(b: Bench, x: Any, **options: Any) -> Any:
    return joined(b, conv(20, ONE)(b, x), conv(33, (3, 3), **SAME)(b, x), **options)


def test_convolutions_store_their_channels_side_by_side() -> None:
    assert called(check(network(two))) == ["conv2d*", "conv2d*"]
    assert called(check(network(two), threads=2)) == ["conv2d*", "conv2d*"]


def test_a_scale_of_its_own_is_one_more_step_of_the_kernel() -> None:
    lowered = check(network(lambda b, x: two(b, x, scales=(0.1, 0.037))))
    assert called(lowered) == ["conv2d*", "conv2d*"]
    kernels = [task.name for task in lowered.tasks if task.kind == "conv2d"]
    assert [name.endswith("_concatenate") for name in kernels] == [False, True]


def test_what_others_read_too_is_copied() -> None:
    def build(b: Bench, x: Any) -> Any:
        shared = conv(16, ONE)(b, x)
        return joined(b, shared, conv(20, ONE)(b, shared), x)

    assert Counter(called(check(network(build)))) == {"conv2d": 1, "conv2d*": 1, "concatenate*": 2}


def test_a_kernel_that_stores_several_pixels_at_once_keeps_its_tensor() -> None:
    def build(b: Bench, x: Any) -> Any:
        return joined(b, conv(16, ONE)(b, x), conv(16, (3, 3), groups=16, **SAME)(b, x))

    assert Counter(called(check(network(build)))) == {"conv2d*": 1, "depthwise": 1, "concatenate*": 1}


def test_without_such_an_input_it_stays_one_kernel() -> None:
    mod = network(lambda b, x: joined(b, x, conv(16, (3, 3), groups=16, **SAME)(b, x)))
    assert separate_inputs(mod).same_as(mod)
    assert Counter(called(check(mod))) == {"depthwise": 1, "concatenate": 1}


def test_along_another_axis_it_stays_one_kernel() -> None:
    mod = network(lambda b, x: joined(b, conv(16, ONE)(b, x), x, axis=1))
    assert called(check(mod)) == ["conv2d", "concatenate"]


def test_an_operator_behind_it_that_takes_it_into_its_kernel() -> None:
    mod = network(lambda b, x: relax.op.clip(two(b, x), -20, 30))
    assert called(check(mod)) == ["conv2d", "conv2d", "concatenate"]


def test_a_network_that_is_no_list_of_kernels() -> None:
    """Its memory is planned by TVM, as it returns its input too."""
    builder = relax.BlockBuilder()
    data = relax.Var("data", relax.TensorType(DATA.shape, "int8"))
    with builder.function("main", [data]):
        with builder.dataflow():
            b = Bench(builder, "int8", 0)
            inner = two(b, conv(16, ONE)(b, two(b, data)))
            output = builder.emit_output(relax.Tuple([inner, data, conv(8, ONE)(b, inner)]))
        builder.emit_func_output(output)
    mod = builder.get()
    module = compile_module(apply_best(lower(mod, NATIVE, 1))[0], NATIVE)
    found = relax.VirtualMachine(module, tvm.cpu())["main"](tvm.runtime.tensor(DATA))
    for output, expected in zip(found, reference.run(mod, [DATA]), strict=True):
        np.testing.assert_array_equal(output.numpy(), expected, strict=True)


def test_the_same_kernel_in_several_places_is_one_task() -> None:
    def build(b: Bench, x: Any) -> Any:
        parts = [conv(16, ONE)(b, x) for _ in range(3)]
        return conv(8, ONE)(b, joined(b, joined(b, *parts[:2]), parts[2]))

    applied = []

    def scheduled(task: TuningTask) -> Any:
        if task.kind != "conv2d":
            return None
        template = task.template()
        assert template is not None
        schedule = tvm.s_tir.Schedule(task.mod)
        template.apply(schedule, template.default())
        applied.append(tuple(int(extent) for extent in task.mod["main"].params[-1].shape))
        return schedule.mod

    lowered = check(network(build), scheduled=scheduled)
    task, _last = (task for task in lowered.tasks if task.kind == "conv2d")
    assert task.weight == len(task.functions) == 3
    assert Counter(applied) == {(1, 4, 5, 32): 2, (1, 4, 5, 48): 1, (1, 4, 5, 8): 1}


def test_what_is_stored_elsewhere_is_measured_as_a_tensor_of_its_own() -> None:
    tasks = [task for task in lower(network(two), NATIVE, 1).tasks if task.kind == "conv2d"]
    shapes = [[array.shape for array in (task.arguments(0)[0][-1], *task.arguments(0)[1])] for task in tasks]
    assert shapes == [[(1, 4, 5, 20)] * 2, [(1, 4, 5, 33)] * 2]
