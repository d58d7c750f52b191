"""Our layers beside a peer's: pairing, the table and the profiles, with made-up figures and no engine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autotune_qnn.cli.common import parse_target
from autotune_qnn.engines import relax
from autotune_qnn.errors import VerificationError
from benchmarks import kernels
from benchmarks.lib.engines import ENGINES
from benchmarks.lib.engines.onnx_runtime import profile_layers
from benchmarks.lib.job import Job
from benchmarks.lib.layers import NOTE, Layer, macs_of, matched, records, table
from benchmarks.lib.own_layers import own_layers
from tests.support.networks import ConvCase

FIRST = Layer("first", (1, 8, 8, 3), (1, 8, 8, 16), 27648)
POINT = Layer("point", (1, 8, 8, 16), (1, 8, 8, 16), 16384)
DEPTHWISE = Layer("depthwise", (1, 8, 8, 16), (1, 8, 8, 16), 9216)
DENSE = Layer("dense", (1, 16), (1, 10), 160)
OURS = [FIRST, POINT, DEPTHWISE, DENSE]


def peer(layer: Layer, us: float, **others: Any) -> Layer:
    """The layer as a peer has it: channels first, the dense one on 1 x 1 pixels."""
    data, output = ((shape[0], shape[-1], *(shape[1:-1] or (1, 1))) for shape in (layer.data, layer.output))
    return replace(
        layer, **{"name": f"their_{layer.name}", "data": data, "output": output, "us": us, **others}
    )


def test_layers_are_paired_whatever_the_layout() -> None:
    theirs = [peer(layer, place + 1.0) for place, layer in enumerate(OURS)]
    assert matched(OURS, theirs) == theirs
    silent = [replace(layer, macs=None) for layer in theirs]
    assert matched(OURS, silent) == silent


def test_branches_in_another_order() -> None:
    first, point, depthwise, dense = (peer(layer, 1.0) for layer in OURS)
    assert matched(OURS, [first, depthwise, point, dense]) == [first, point, depthwise, dense]
    moved = [replace(layer, macs=None) for layer in (point, first, depthwise, dense)]
    with pytest.raises(VerificationError, match="another order, and more than one kind"):
        matched(OURS, moved)
    assert [layer.name for layer in matched([FIRST, POINT, DENSE], [moved[0], moved[1], moved[3]])] == [
        "their_first",
        "their_point",
        "their_dense",
    ]


def test_other_layers_are_not_paired() -> None:
    theirs = [peer(layer, 1.0) for layer in OURS]
    with pytest.raises(VerificationError, match="runs 3 convolutions and dense layers where we run 4"):
        matched(OURS, theirs[:3])
    with pytest.raises(
        VerificationError, match=r"dense, \(1, 16\) to \(1, 10\): 0 of its layers .*, 1 of ours"
    ):
        matched(OURS, [*theirs[:3], replace(theirs[3], output=(1, 11, 1, 1))])
    with pytest.raises(VerificationError, match="multiply-accumulates as point, 16384"):
        matched(OURS, [theirs[0], replace(theirs[1], macs=5), *theirs[2:]])


def test_multiply_accumulates() -> None:
    assert macs_of((1, 16, 8, 8), 16, (16, 3, 3, 3)) == FIRST.macs
    assert macs_of((1, 16, 8, 8), 16, (16, 1, 1, 3, 3)) == DEPTHWISE.macs
    assert macs_of((1, 10), 10, (10, 16)) == DENSE.macs


def test_table() -> None:
    measured = {
        "first": {"default_us": 4.0, "tuned_us": 2.0},
        "point": {"default_us": 5.0, "tuned_us": None},
    }
    theirs = [peer(layer, 10.0) for layer in OURS]
    rows = records(OURS, measured, {"openvino": theirs})
    assert [row["kernel"] for row in rows] == ["first", "point"]
    assert rows[0]["peers"] == {"openvino": {"layer": "their_first", "us": 10.0, "times_as_fast": 5.0}}
    head, first, point, total, note = table(rows, ["openvino"])
    assert head.split() == ["default", "µs", "tuned", "µs", "openvino", "µs", "times", "as", "fast", "layer"]
    assert first.split() == ["4.0", "2.0", "10.0", "5.00", "first"]
    assert point.split() == ["5.0", "-", "10.0", "2.00", "point"]
    assert total.split()[:5] == ["9.0", "7.0", "20.0", "2.86", "sum"]
    assert note == NOTE


def test_an_onnx_runtime_profile() -> None:
    def event(name: str, ts: int, dur: int, op: str, extents: list[int]) -> dict[str, Any]:
        shapes = [{"uint8": extents}, {"float": []}]
        args = {"op_name": op, "input_type_shape": shapes, "output_type_shape": [{"uint8": [1, 4]}]}
        return {"cat": "Node", "name": f"{name}_kernel_time", "ts": ts, "dur": dur, "args": args}

    session = {"cat": "Session", "name": "model_run", "ts": 0, "dur": 9, "args": {}}
    runs = [
        found
        for start, dur in ((10, 50), (20, 3), (30, 4))
        for found in (
            event("gemm", start + 2, dur, "QGemm", [1, 8]),
            event("add", start + 1, dur, "QLinearAdd", [1, 8]),
            event("conv", start, dur + 1, "QLinearConv", [1, 2, 2, 8]),
        )
    ]
    weights = {"conv": (4, 8, 2, 2), "gemm": (8, 4)}
    assert profile_layers([session, *runs], weights) == [
        Layer("conv", (1, 2, 2, 8), (1, 4), 128, 5),
        Layer("gemm", (1, 8), (1, 4), 32, 4),
    ]
    assert [layer.macs for layer in profile_layers(runs, {})] == [None, None]


def test_our_layers_are_those_of_the_lowered_network() -> None:
    module = ConvCase(6, 6, 8, 16, 3, 1, 1).module()
    (layer,) = own_layers(relax.lower(module, parse_target("llvm -mcpu=haswell", to_run=False), 1))
    assert layer.name.startswith("conv2d")
    assert (layer.data, layer.output, layer.macs) == ((1, 6, 6, 8), (1, 6, 6, 16), 6 * 6 * 16 * 8 * 9)


def test_an_engine_that_fails_is_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def profiled(job: Job, folder: Path, seconds: float) -> list[Layer]:
        assert seconds == 1.0
        return [peer(DENSE, 6.0)] * (1 if job.engine == "openvino" else 2)

    monkeypatch.setattr(kernels, "profiled", profiled)
    places = Path("/cache"), Path("/shared"), "llvm", Path("/logs")
    jobs = [Job(engine, "resnet18", 1, 1, *places) for engine in ("openvino", "openvino_nncf")]
    index = {
        "layers": [{"name": "dense", "data": [1, 16], "output": [1, 10], "macs": 160, "us": 0.0}],
        "peers": [[job.to_json(), "/folder"] for job in jobs],
        "left_out": {"onnxruntime": "it reads ONNX"},
    }
    row = {"kernel": "dense", "default_us": 3.0, "tuned_us": None}
    written = kernels._beside(index, [row], 1.0)
    assert written["layers"][0]["peers"]["openvino"]["times_as_fast"] == 2.0
    assert set(written["left_out"]) == {"onnxruntime", "openvino_nncf"}
    printed = capsys.readouterr().out
    assert "openvino_nncf is left out: it runs 2 convolutions and dense layers where we run 1" in printed
    assert "onnxruntime is left out: it reads ONNX" in printed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--engines", "openvino"], "go together, and without --model"),
        (["--network", "resnet18", "--engines", "litert*"], "there is no engine 'litert*'"),
        (["--network", "resnet*", "--engines", "openvino"], "takes one network, not resnet18, resnet50"),
    ],
)
def test_options_that_do_not_fit(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kernels.main(["prepare", str(tmp_path), *options, "--target", "llvm"]) == 2
    assert message in capsys.readouterr().err


def test_engines_that_do_not_profile_say_so() -> None:
    assert {name for name, engine in ENGINES.items() if engine.profiles} == {
        "openvino",
        "openvino_nncf",
        "onnxruntime",
        "pytorch_x86",
        "pytorch_onednn",
        "pytorch_fbgemm",
    }


def test_a_pytorch_profile() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: scripts/setup pytorch")
    from benchmarks.lib.engines.torch_profile import profile_layers
    from tests.support.small_pytorch import SHAPE, small_network

    network = small_network()
    (layer,) = profile_layers(network, torch.zeros(SHAPE), 0.0)
    assert (layer.name, layer.data, layer.output) == ("conv2d_relu 0", (1, 3, 8, 8), (1, 8, 6, 6))
    assert layer.macs == 6 * 6 * 8 * 27
    assert layer.us > 0.0
    (again,) = profile_layers(network, torch.zeros(SHAPE), 0.05)
    assert again.signature == layer.signature
