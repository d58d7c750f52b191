"""Exported programs: reading a .pt2 file, and what one run of it dispatches, with the weights' stored integers."""

from __future__ import annotations

import importlib
import importlib.util
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from autotune_qnn.errors import ModelError
from autotune_qnn.frontends.pytorch.capture import Recorder, capture, describe, numbers
from autotune_qnn.frontends.pytorch.exported.parameters import (
    DEQUANTIZE,
    DEQUANTIZE_AFFINE,
    DEQUANTIZE_CHANNELS,
    QuantizedConstant,
)
from autotune_qnn.frontends.pytorch.graph import Argument, Graph
from autotune_qnn.frontends.pytorch.torch_runtime import LOAD_ERRORS, first_line, quietly
from autotune_qnn.quantization import Arithmetic

_LARGEST_GRAPH = 1 << 30


@dataclass(frozen=True, slots=True)
class Program:
    """A program that can be called, and the shape and dtype of its one input."""

    module: Any
    input_shape: tuple[int, ...]
    input_dtype: str


def load_program(path: Path) -> Program:
    """The program in a .pt2 file. ModelError where it cannot be read, or has another signature than one tensor of a
    fixed shape.
    """
    register_operators(torchao=_names(path, b"torchao::") or _names(path, b"torchao."))
    try:
        with quietly():
            program = torch.export.load(str(path))
            module = program.module()
    except LOAD_ERRORS as error:
        raise ModelError(f"{path} cannot be loaded as an exported program: {first_line(error)}") from error
    shape, dtype = _signature(program, path)
    return Program(module, shape, dtype)


def executable(path: Path, *, compiled: bool) -> Any:
    """The program in a .pt2 file as a function of one tensor: as it stands, or compiled by Inductor."""
    program = load_program(path)
    if not compiled:
        return program.module
    from torch._inductor import config

    config.freezing = True
    function = torch.compile(program.module)
    example = torch.zeros(program.input_shape, dtype=getattr(torch, program.input_dtype))
    with quietly(), torch.no_grad():
        function(example)
    return function


def register_operators(*, torchao: bool = False) -> None:
    """Import what registers quantized_decomposed's operators and, which takes seconds, torchao's, where installed."""
    with quietly():
        importlib.import_module("torch.ao.quantization.fx._decomposed")
        if torchao and importlib.util.find_spec("torchao") is not None:
            importlib.import_module("torchao.quantization.pt2e")


def _names(path: Path, text: bytes) -> bool:
    """Whether the program's graph in the file mentions some text."""
    try:
        with zipfile.ZipFile(path) as archive:
            found = [entry for entry in archive.infolist() if entry.filename.endswith(".json")]
            return any(text in archive.read(entry) for entry in found if entry.file_size < _LARGEST_GRAPH)
    except (OSError, zipfile.BadZipFile, zlib.error, NotImplementedError):
        return False  # what is wrong with the file is said when it is loaded


def _signature(program: Any, path: Path) -> tuple[tuple[int, ...], str]:
    names = program.graph_signature.user_inputs
    if len(names) != 1:
        raise ModelError(f"{path} takes {len(names)} inputs; only programs of one input can be imported")
    example = next(node.meta.get("val") for node in program.graph.nodes if node.name == names[0])
    if not isinstance(example, torch.Tensor):
        raise ModelError(f"{path} takes something other than a tensor")
    if not all(isinstance(extent, int) for extent in example.shape):
        raise ModelError(
            f"{path} was exported with a dynamic shape; export it for the shape that it is to run with"
        )
    return tuple(int(extent) for extent in example.shape), str(example.dtype).removeprefix("torch.")


def capture_program(program: Program, arithmetic: Arithmetic, *, name: str) -> Graph:
    """One run of the program; its constant weights come as QuantizedConstant where it dequantizes them."""
    example = np.random.default_rng(0).normal(size=program.input_shape).astype(program.input_dtype)
    return capture(program.module, [example], arithmetic, name=name, recorder_type=_ProgramRecorder)


class _ProgramRecorder(Recorder):
    """Notes also which float constants come from stored integers."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._origins: dict[int, QuantizedConstant] = {}
        self._constants: list[Any] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = super().__torch_dispatch__(func, types, args, kwargs)
        if isinstance(result, torch.Tensor) and self.number(result) is None:
            origin = self._origin(func, args, kwargs or {}, result)
            if origin is not None:
                self._origins[id(result)] = origin
                self._constants.append(result)
        return result

    def _argument(self, value: Any) -> Argument:
        if isinstance(value, torch.Tensor) and self.number(value) is None and id(value) in self._origins:
            return self._origins[id(value)]
        return super()._argument(value)

    def _origin(
        self, func: Any, args: Sequence[Any], keywords: Mapping[str, Any], result: Any
    ) -> QuantizedConstant | None:
        name = str(func._schema.name)
        names = [argument.name for argument in func._schema.arguments]
        given = dict(zip(names, args, strict=False)) | dict(keywords)
        if name in (DEQUANTIZE, DEQUANTIZE_CHANNELS):
            scale = given["scales" if name == DEQUANTIZE_CHANNELS else "scale"]
            zero_point = given["zero_points" if name == DEQUANTIZE_CHANNELS else "zero_point"]
            return _constant(result, given["input"], scale, zero_point, given.get("axis", 0))
        if name == DEQUANTIZE_AFFINE:
            stored, block = given["input"], list(given["block_size"])
            split = [axis for axis, size in enumerate(block) if size != stored.shape[axis]]
            if len(split) > 1 or any(block[axis] != 1 for axis in split):
                return None
            return _constant(result, stored, given["scale"], given["zero_point"], split[0] if split else 0)
        source = self._origins.get(id(args[0])) if args and isinstance(args[0], torch.Tensor) else None
        order = None if source is None else _order(name, given, source.data.ndim)
        if source is None or order is None:
            return None
        return QuantizedConstant(
            describe(result),
            np.ascontiguousarray(source.data.transpose(order)),
            source.scale,
            source.zero_point,
            order.index(source.axis),
        )


def _constant(result: Any, stored: Any, scale: Any, zero_point: Any, axis: int) -> QuantizedConstant:
    data = numbers(stored)
    scales = (
        np.asarray(scale, np.float64) if not isinstance(scale, torch.Tensor) else _vector(scale, np.float64)
    )
    count = scales.shape
    points = (
        np.zeros(count, np.int64) if zero_point is None else _vector(torch.as_tensor(zero_point), np.int64)
    )
    return QuantizedConstant(
        describe(result), data, scales, np.broadcast_to(points, count), axis % max(data.ndim, 1)
    )


def _vector(values: Any, dtype: Any) -> Any:
    array = numbers(values).astype(dtype).reshape(-1)
    return array.reshape(()) if array.size == 1 else array


def _order(name: str, given: Mapping[str, Any], rank: int) -> tuple[int, ...] | None:
    """How an operator orders the dimensions of a constant anew; None for operators that do something else."""
    dims = list(range(rank))
    if name == "aten::permute":
        return tuple(int(axis) % rank for axis in given["dims"])
    if name == "aten::t" and rank == 2:
        return (1, 0)
    if name == "aten::transpose":
        first, second = int(given["dim0"]) % rank, int(given["dim1"]) % rank
        dims[first], dims[second] = dims[second], dims[first]
        return tuple(dims)
    return tuple(dims) if name in ("aten::detach", "aten::alias", "aten::clone") else None
