"""A small integer matmul as a tuning task, with a template of two tiles, for the tests of this folder."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import tvm
from tvm import te

from autotune_qnn.kernels.isa import Isa
from autotune_qnn.kernels.templates.base import Config, ConfigSpace, Knob, ScheduleRejected
from autotune_qnn.logs import LogHeader

Array = npt.NDArray[np.generic]
HEADER = LogHeader("llvm", "0.27", "a cpu", 1, "0.1.0", "toy", "xnnpack")


@dataclass(frozen=True)
class HostTarget:
    canonical: str = "llvm"
    isa: Isa = Isa.GENERIC

    def mapping(self) -> Mapping[str, Any]:
        return {"kind": "llvm"}

    def tvm(self) -> Any:
        return tvm.target.Target(self.mapping())


def matmul_module(size: int) -> Any:
    lhs = te.placeholder((size, size), "uint8", name="lhs")
    rhs = te.placeholder((size, size), "int8", name="rhs")
    k = te.reduce_axis((0, size), "k")
    out = te.compute(
        (size, size),
        lambda i, j: te.sum(lhs[i, k].astype("int32") * rhs[k, j].astype("int32"), axis=k),
        name="matmul",
    )
    function = te.create_prim_func([lhs, rhs, out]).with_attr("global_symbol", "main")
    return tvm.IRModule({"main": function})


@dataclass(frozen=True)
class VnniTarget(HostTarget):
    canonical: str = "llvm -mcpu=cascadelake"
    isa: Isa = Isa.AVX512_VNNI

    def mapping(self) -> Mapping[str, Any]:
        return {"kind": "llvm", "mcpu": "cascadelake"}


def packed_matmul_module(rows: int, inner: int, channels: int) -> Any:
    """A matmul whose weights are packed for vpdpbusd: [channels / 16, inner / 4, 16, 4]."""
    lhs = te.placeholder((rows, inner), "uint8", name="lhs")
    rhs = te.placeholder((channels // 16, inner // 4, 16, 4), "int8", name="rhs")
    k = te.reduce_axis((0, inner // 4), "k")
    q = te.reduce_axis((0, 4), "q")
    out = te.compute(
        (rows, channels),
        lambda i, c: te.sum(
            lhs[i, k * 4 + q].astype("int32") * rhs[c // 16, k, c % 16, q].astype("int32"), axis=[k, q]
        ),
        name="matmul",
    )
    function = te.create_prim_func([lhs, rhs, out]).with_attr("global_symbol", "main")
    return tvm.IRModule({"main": function})


@dataclass(frozen=True)
class MatmulTemplate:
    """Tiles of rows and columns; `wrong` configurations compute something else, on purpose."""

    size: int
    name: str = "matmul_tiles"

    def space(self) -> ConfigSpace:
        divisors = tuple(value for value in (1, 2, 4, 8, 16, 32) if self.size % value == 0)
        return ConfigSpace(
            (Knob("rows", divisors), Knob("columns", divisors), Knob("unroll", (0, 1))),
            lambda values: values["rows"] * values["columns"] <= 256,
        )

    def default(self) -> Config:
        return Config.of(rows=4, columns=16, unroll=1)

    def apply(self, sch: Any, config: Config) -> None:
        if config["rows"] == 32 and config["unroll"]:
            raise ScheduleRejected("too many registers")
        block = sch.get_sblock("matmul")
        i, j, k = sch.get_loops(block)
        outer_i, inner_i = sch.split(i, [None, config["rows"]])
        outer_j, inner_j = sch.split(j, [None, config["columns"]])
        sch.reorder(outer_i, outer_j, k, inner_i, inner_j)
        sch.vectorize(inner_j)
        if config["unroll"]:
            sch.unroll(inner_i)
        sch.decompose_reduction(block, k)


@dataclass(frozen=True)
class MatmulTask:
    """Implements the tuning Task protocol; `wrong` expects outputs that no candidate computes, and `packed` is
    only for making candidates.
    """

    size: int = 64
    weight: int = 1
    wrong: bool = False
    templated: bool = True
    packed: bool = False
    kind: str = "dense"

    @property
    def name(self) -> str:
        return f"matmul_{self.size}{'_wrong' if self.wrong else ''}"

    @property
    def key(self) -> str:
        return hashlib.sha256(self.name.encode()).hexdigest()

    @property
    def mod(self) -> Any:
        if self.packed:
            return packed_matmul_module(self.size, self.size, self.size)
        return matmul_module(self.size)

    @property
    def macs(self) -> int:
        return int(self.size**3)

    def arguments(self, seed: int) -> tuple[list[Array], list[Array]]:
        rng = np.random.default_rng(seed)
        shape = (self.size, self.size)
        lhs = rng.integers(0, 256, shape, dtype=np.uint8)
        rhs = rng.integers(-128, 128, shape, dtype=np.int8)
        expected = lhs.astype(np.int32) @ rhs.astype(np.int32) + int(self.wrong)
        return [lhs, rhs, np.zeros(shape, np.int32)], [expected]

    def template(self) -> MatmulTemplate | None:
        return MatmulTemplate(self.size) if self.templated else None
