"""Which of two roundings oneDNN's dense convolutions have on this machine.

With A an accumulator, S and w the factors of the input's and the weights' scale, some of oneDNN's kernels compute
A·(S·w) and others (A·S)·w, in float32, which differ in about one of 100,000 results. Which kernels run depends on the
CPU: on the first machine that was looked at it was the first, on an AMD EPYC with AVX-512 VNNI the second. So a small
convolution whose results tell the two apart is run, once a process.
"""

from __future__ import annotations

import functools
import logging
from dataclasses import dataclass

import numpy as np
import torch

from autotune_qnn.frontends.base import Array
from autotune_qnn.frontends.pytorch.torch_runtime import one_thread, quantized_engine, quietly
from autotune_qnn.quantization import Arithmetic

_LOGGER = logging.getLogger(__name__)
_CHANNELS, _SIDE, _WINDOWS = 64, 28, (1, 3)
_TELLING, _SEEDS = 8, 200
FIRST, SECOND = "onednn_combined", "onednn"
"""Names of the output stages that compute A·(S·w) and (A·S)·w."""


@dataclass(frozen=True, slots=True)
class _Scales:
    input: float
    weight: float
    output: float


@functools.lru_cache(maxsize=1)
def dense_stage() -> str:
    """The name of the output stage that agrees with this machine's dense convolutions."""
    if Arithmetic.ONEDNN.value not in torch.backends.quantized.supported_engines:
        return SECOND
    found = {_agreeing(window) for window in _WINDOWS}
    if len(found) == 1 and (stage := found.pop()) is not None:
        return stage
    _LOGGER.warning(
        "oneDNN's convolutions on this CPU follow neither known formula throughout; about one element in 100,000 may "
        "differ from PyTorch"
    )
    return SECOND


def _agreeing(window: int) -> str | None:
    """The stage that every telling result of a convolution agrees with."""
    for seed in range(_SEEDS):
        scales, data, factors = _case(seed)
        # Each output channel takes one input channel, times a factor, so that the accumulators are known.
        accumulators = data.astype(np.int64) * factors[:, None, None]
        first, second = (_rounded(accumulators, scales, stage) for stage in (FIRST, SECOND))
        telling = first != second
        if telling.sum() < _TELLING:
            continue
        result = _convolved(data, factors, window, scales)
        votes = {stage for stage, own in ((FIRST, first), (SECOND, second)) if (own == result).all()}
        return votes.pop() if len(votes) == 1 else None
    return None


def _case(seed: int) -> tuple[_Scales, Array, Array]:
    """Scales with many results near ties, data uint8 [C, H, W], and a factor for each channel."""
    rng = np.random.default_rng(seed)
    first, second = np.exp(rng.uniform(-5, -2)), np.exp(rng.uniform(-7, -4))
    scales = _Scales(float(first), float(second), float(first * second * 2 * rng.integers(20, 200)))
    data = rng.integers(0, 128, (_CHANNELS, _SIDE, _SIDE)).astype(np.uint8)
    return scales, data, rng.integers(1, 128, _CHANNELS)


def _rounded(accumulators: Array, scales: _Scales, stage: str) -> Array:
    one, real = np.float32(1), accumulators.astype(np.float32)
    source, weight = one / np.float32(1.0 / scales.input), np.float32(scales.weight)
    scaled = real * (source * weight) if stage == FIRST else (real * source) * weight
    return np.clip(np.rint(scaled * (one / (one / np.float32(1.0 / scales.output)))), 0, 255)


def _convolved(data: Array, factors: Array, window: int, scales: _Scales) -> Array:
    weight = np.zeros((_CHANNELS, _CHANNELS, window, window), np.int8)
    weight[np.arange(_CHANNELS), np.arange(_CHANNELS), window // 2, window // 2] = factors
    ops = torch.ops.quantized
    with quietly(), one_thread(), quantized_engine(Arithmetic.ONEDNN):
        quantized = torch._make_per_tensor_quantized_tensor(torch.from_numpy(weight), scales.weight, 0)
        bias = torch.zeros(_CHANNELS)
        packed = ops.conv2d_prepack(quantized, bias, [1, 1], [window // 2] * 2, [1, 1], 1)
        image = torch._make_per_tensor_quantized_tensor(torch.from_numpy(data[None]), scales.input, 0)
        result = ops.conv2d(image.contiguous(memory_format=torch.channels_last), packed, scales.output, 0)
        return np.asarray(result.int_repr().numpy()[0])
