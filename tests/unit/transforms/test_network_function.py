"""One function calls all kernels of a network, on one workspace."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import tvm
from tvm import relax
from tvm.runtime.vm import VirtualMachine

from autotune_qnn.engines.relax import TargetSpec, apply_best, compile_module, lower
from autotune_qnn.transforms.network_function import CONSTANTS, NETWORK, network_function, place_tensors
from tests.support.networks import ConvCase


def test_both_ways_into_a_library_give_the_same(tmp_path: Path) -> None:
    target = TargetSpec.parse("native")
    lowered = lower(ConvCase(9, 9, 32, 32, 3, 1, 1, dtype="int8", residual=True).module(), target, 2)
    library = tmp_path / "net.so"
    compile_module(apply_best(lowered)[0], target).export_library(str(library))
    module = tvm.runtime.load_module(str(library))
    machine = VirtualMachine(module, tvm.cpu())
    data = np.random.default_rng(0).integers(-128, 128, (1, 9, 9, 32)).astype(np.int8)
    expected = machine["main"](tvm.runtime.tensor(data)).numpy()
    result = tvm.runtime.tensor(np.zeros_like(expected))
    (inner,) = (found for found in module.imports if found.implements_function(NETWORK))
    inner[NETWORK](tvm.runtime.tensor(data), machine[CONSTANTS](), result)
    np.testing.assert_array_equal(result.numpy(), expected)
    assert expected.std() > 0


def test_what_lives_at_the_same_time_does_not_overlap() -> None:
    rng = random.Random(0)
    for _ in range(50):
        starts = [rng.randrange(12) for _ in range(12)]
        tensors = [(rng.randrange(1, 5000), start, start + rng.randrange(4)) for start in starts]
        places, size = place_tensors(tensors)
        assert all(place % 64 == 0 for place in places)
        assert size == max(place + tensor[0] for place, tensor in zip(places, tensors, strict=True))
        for i, (one, first, last) in enumerate(tensors):
            for j, (_, begin, end) in enumerate(tensors[:i]):
                apart = places[j] >= places[i] + one or places[i] >= places[j] + tensors[j][0]
                assert apart or begin > last or first > end


def test_memory_is_used_again() -> None:
    places, size = place_tensors([(1000, 0, 1), (1000, 1, 2), (1000, 2, 3)])
    assert places[0] == places[2]
    assert size == 1024 + 1000
    assert place_tensors([]) == ([], 0)


def test_what_is_no_list_of_kernels_stays_as_it_is() -> None:
    builder = relax.BlockBuilder()
    data = relax.Var("data", relax.TensorType((2, 3), "int8"))
    with builder.function("main", [data]):
        builder.emit_func_output(builder.emit(relax.op.add(data, data)))
    module = builder.get()
    assert network_function(module).same_as(module)
