"""Quantized tensors of PyTorch for single-operator cases, and what a case consists of."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from autotune_qnn.dialect import constant
from tests.support.dialect import zero

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import torch

ENGINES = ("fbgemm", "onednn", "x86", "qnnpack")
DTYPES = {"uint8": torch.quint8, "int8": torch.qint8}
ORDERS = {"NCHW": torch.contiguous_format, "NHWC": torch.channels_last}
SIMPLE_RATIOS = (0.5, 0.25, 1.0, 1.5, 0.75)


@dataclass(frozen=True)
class OperatorCase:
    """One operator: how the dialect builds it, inputs in NHWC, and what PyTorch computes, in NHWC."""

    name: str
    build: Callable[..., Any]
    inputs: tuple[np.ndarray[Any, Any], ...]
    expected: np.ndarray[Any, Any]

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Quantized:
    """A quantized tensor with its parameters."""

    tensor: Any

    @classmethod
    def of(cls, tensor: Any) -> Quantized:
        return cls(tensor)

    @property
    def scale(self) -> float:
        return float(self.tensor.q_scale())

    @property
    def zero_point(self) -> int:
        return int(self.tensor.q_zero_point())

    @property
    def parameters(self) -> tuple[Any, Any]:
        """Scale and zero point as constants of the dialect."""
        return real(self.scale), zero(self.zero_point)

    @property
    def memory_order(self) -> str:
        """NHWC where PyTorch takes its channels-last paths: also where both orders are one."""
        last = self.tensor.dim() == 4 and self.tensor.is_contiguous(memory_format=torch.channels_last)
        return "NHWC" if last else "NCHW"

    @property
    def nhwc(self) -> np.ndarray[Any, Any]:
        """The stored integers, channels last."""
        return channels_last(self.tensor.int_repr())


def real(value: Any) -> Any:
    return constant(value, "float64")


def channels_last(tensor: Any) -> np.ndarray[Any, Any]:
    """An NCHW tensor as an NHWC array; one of another rank as it is."""
    if tensor.dim() == 4:
        tensor = tensor.permute(0, 2, 3, 1)
    return np.ascontiguousarray(tensor.contiguous().numpy())


def bounds(dtype: str) -> tuple[int, int]:
    info = np.iinfo(dtype)
    return int(info.min), int(info.max)


def random_scale(rng: np.random.Generator, low: float = 0.004, high: float = 0.1) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def random_zero(rng: np.random.Generator, dtype: str) -> int:
    low, high = bounds(dtype)
    return int(rng.integers(low, high + 1))


def random_tensor(
    rng: np.random.Generator, shape: tuple[int, ...], dtype: str, scale: float, order: str = "NCHW"
) -> Quantized:
    """Values of the whole range in an NCHW shape, laid out in memory as `order` says."""
    low, high = bounds(dtype)
    values = torch.from_numpy(rng.integers(low, high + 1, shape).astype(dtype))
    tensor = torch._make_per_tensor_quantized_tensor(values, scale, random_zero(rng, dtype))
    return Quantized(tensor.contiguous(memory_format=ORDERS[order]) if len(shape) == 4 else tensor)


@dataclass(frozen=True)
class Scales:
    """Scales of two inputs and of the output: generic ones, or with simple ratios, which lead to many ties."""

    first: float
    second: float
    output: float

    @classmethod
    def random(cls, rng: np.random.Generator, ties: bool) -> Scales:
        output = random_scale(rng)
        if ties:
            return cls(
                output * float(rng.choice(SIMPLE_RATIOS)), output * float(rng.choice(SIMPLE_RATIOS)), output
            )
        return cls(random_scale(rng), random_scale(rng), output)


@contextmanager
def quantized_engine(name: str) -> Iterator[None]:
    """PyTorch's quantized engine, on one thread, for a while; its warnings of deprecation are not ours."""
    engine, threads = torch.backends.quantized.engine, torch.get_num_threads()
    try:
        torch.backends.quantized.engine = name
        torch.set_num_threads(1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.backends.quantized.engine = engine
        torch.set_num_threads(threads)


def avx512() -> bool:
    """Whether PyTorch's kernels run with AVX-512, on which the blocks of some of them depend."""
    return str(torch.backends.cpu.get_cpu_capability()).startswith("AVX512")
