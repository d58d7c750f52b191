"""Every PyTorch operator in a small network, on every engine: all elements of all tensors identical to PyTorch."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import pytest
import tvm
from tvm import relax

from tests.support.torch import needs_torch

pytestmark = needs_torch
pytest.importorskip("torch", reason="PyTorch is not installed: scripts/setup pytorch")

from autotune_qnn.dialect import reference  # noqa: E402
from autotune_qnn.engines import relax as engine  # noqa: E402
from autotune_qnn.engines.relax.target import TargetSpec  # noqa: E402
from autotune_qnn.frontends.pytorch.capture import capture, numbers  # noqa: E402
from autotune_qnn.frontends.pytorch.engines import ENGINES  # noqa: E402
from autotune_qnn.frontends.pytorch.importer import import_graph  # noqa: E402
from autotune_qnn.frontends.pytorch.torch_runtime import quantized_engine, quietly  # noqa: E402
from autotune_qnn.quantization import Arithmetic  # noqa: E402
from tests.support.pytorch_networks import LAYERS, OPERATORS, Case, Network  # noqa: E402

REFUSED = {
    ("transposed_extended", Arithmetic.ONEDNN): "oneDNN takes no output padding",
    ("sigmoid_scaled", Arithmetic.QNNPACK): "QNNPACK's sigmoid has one output scale",
}


def differences(case: Case, arithmetic: Arithmetic, last: bool, seed: int) -> list[str]:
    """The operators with results that differ from PyTorch's, and how many of their elements do."""
    make, shape = case
    rng = np.random.default_rng(seed)
    seen: dict[int, Any] = {}
    with quietly(), quantized_engine(arithmetic):
        network = Network(make(rng), last=last and len(shape) == 4)
        x = rng.normal(0, 3, shape).astype(np.float32)
        graph = capture(network, [x], arithmetic, observer=lambda i, t: seen.__setitem__(i, numbers(t)))
    indices = [index for node in graph.nodes for index in node.outputs]
    names = {index: node.name for node in graph.nodes for index in node.outputs}
    results = reference.run(import_graph(graph, indices), [x])
    return [
        f"{names[index]}: {int((result != seen[index]).sum())} of {result.size}"
        for index, result in zip(indices, results, strict=True)
        if not np.array_equal(result, seen[index])
    ]


@pytest.mark.parametrize("last", [False, True], ids=["channels_first", "channels_last"])
@pytest.mark.parametrize("arithmetic", ENGINES, ids=lambda value: value.value)
@pytest.mark.parametrize("name", sorted(LAYERS | OPERATORS))
def test_every_tensor_is_identical(name: str, arithmetic: Arithmetic, last: bool) -> None:
    if (name, arithmetic) in REFUSED:
        pytest.skip(REFUSED[name, arithmetic])
    seed = zlib.crc32(f"{name}{arithmetic}{last}".encode())
    assert not differences((LAYERS | OPERATORS)[name], arithmetic, last, seed)


@pytest.mark.parametrize(
    "name", ["residual", "shuffle_unit_batch", "squeeze", "add_slices", "splits", "scalar_far"]
)
def test_compiled_kernels_agree(name: str) -> None:
    make, shape = (LAYERS | OPERATORS)[name]
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    with quietly(), quantized_engine(Arithmetic.X86):
        network = Network(make(rng))
        x = rng.normal(0, 3, shape).astype(np.float32)
        graph = capture(network, [x], Arithmetic.X86)
    module = import_graph(graph)
    target = TargetSpec.parse("native")
    scheduled, _ = engine.apply_best(engine.lower(module, target, 1), lambda task: None)
    machine = relax.VirtualMachine(engine.compile_module(scheduled, target), tvm.cpu())
    result = machine["main"](tvm.runtime.tensor(x)).numpy()
    np.testing.assert_array_equal(result, reference.run(module, [x])[0])
