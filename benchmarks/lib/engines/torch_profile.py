"""The layers of a quantized TorchScript network, with the times that PyTorch's profiler gives of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

from autotune_qnn.errors import VerificationError
from benchmarks.lib.layers import Layer, macs_of

_LAYERS = frozenset(f"quantized::{name}" for name in ("conv2d", "conv2d_relu", "linear", "linear_relu"))
_MOST_RUNS = 64


def profile_layers(network: Callable[[Any], Any], data: Any, seconds: float) -> list[Layer]:
    """Convolutions and linear layers in order of execution: shapes from a run that looks at every operator, times from
    profiled runs for that many seconds. VerificationError where the two do not find the same layers.
    """
    layers = _shapes(network, data)
    times = _times(network, data, seconds)
    if not times or any(len(run) != len(layers) for run in times):
        counts = sorted({len(run) for run in times})
        raise VerificationError(f"its profile shows {counts} layers a run, of {len(layers)} that were run")
    medians = map(statistics.median, zip(*times, strict=True))
    return [
        Layer(layer.name, layer.data, layer.output, layer.macs, us)
        for layer, us in zip(layers, medians, strict=True)
    ]


def _shapes(network: Callable[[Any], Any], data: Any) -> list[Layer]:
    """The layers of one run, without times."""
    from torch.utils._python_dispatch import TorchDispatchMode

    found: list[Layer] = []

    class Watching(TorchDispatchMode):  # type: ignore[misc]  # untyped
        def __torch_dispatch__(
            self, operator: Any, types: Any, arguments: Sequence[Any] = (), options: Any = None
        ) -> Any:
            result = operator(*arguments, **(options or {}))
            name = operator.name().partition(".")[0]
            if name in _LAYERS:
                data, packed = arguments[:2]
                found.append(_layer(f"{name.partition('::')[2]} {len(found)}", data, packed, result))
            return result

    with Watching():
        network(data)
    return found


def _layer(name: str, data: Any, packed: Any, output: Any) -> Layer:
    shape = tuple(packed.unpack()[0].shape)
    return Layer(name, tuple(data.shape), tuple(output.shape), macs_of(output.shape, shape[0], shape))


def _times(network: Callable[[Any], Any], data: Any, seconds: float) -> list[list[float]]:
    """Microseconds of each layer in each run."""
    from torch.profiler import ProfilerActivity, profile

    found: list[list[float]] = []
    end = time.monotonic() + seconds
    while not found or (time.monotonic() < end and len(found) < _MOST_RUNS):
        with profile(activities=[ProfilerActivity.CPU]) as profiler:
            network(data)
        events = [event for event in profiler.events() if event.name in _LAYERS]
        events.sort(key=lambda event: event.time_range.start)
        found.append([float(event.cpu_time_total) for event in events])
    return found
