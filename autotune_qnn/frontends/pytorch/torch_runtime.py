"""PyTorch's global state, set for a while: the quantized engine, one thread, no deprecation warnings."""

from __future__ import annotations

import functools
import pickle
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from autotune_qnn.errors import ModelError
from autotune_qnn.quantization import Arithmetic

LOAD_ERRORS = (
    RuntimeError,
    ValueError,
    OSError,
    EOFError,
    KeyError,
    TypeError,
    AttributeError,
    pickle.UnpicklingError,
)
"""What PyTorch raises on a file that it cannot read."""
_TOLD = re.compile(r"(builtins\.)?\w*Error: ")


@contextmanager
def quietly() -> Iterator[None]:
    """Without warnings: PyTorch announces the end of everything that quantized TorchScript is made of."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        take_announcement()
        yield


@functools.lru_cache(maxsize=1)
def take_announcement() -> None:
    """Provokes the warning that PyTorch's C++ side gives once a process about quantized tensors. Called from Python it
    becomes a Python warning; from within TorchScript it would go to stderr.
    """
    torch.quantize_per_tensor(torch.zeros(1), 1.0, 0, torch.quint8)


@contextmanager
def quantized_engine(engine: Arithmetic) -> Iterator[None]:
    """With one of PyTorch's quantized engines, which packs weights when they are loaded and runs them. ModelError
    where this PyTorch was built without it.
    """
    if engine.value not in torch.backends.quantized.supported_engines:
        raise ModelError(f"this PyTorch has no quantized engine {engine.value}")
    before = torch.backends.quantized.engine
    torch.backends.quantized.engine = engine.value
    try:
        yield
    finally:
        torch.backends.quantized.engine = before


@contextmanager
def one_thread() -> Iterator[None]:
    """On one thread: with more, PyTorch splits tensors, and where it rounds otherwise moves with the parts."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def first_line(error: BaseException) -> str:
    """The line of an error's message that says most: the last that is not a stack trace of TorchScript."""
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
    told = [line for line in lines if _TOLD.match(line)]
    line = told[-1] if told else lines[0] if lines else type(error).__name__
    return line[:300]
