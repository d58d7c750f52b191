"""Runs builds and the source framework on the same inputs and counts where they agree and are right."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy.typing as npt

from autotune_qnn.evaluation.datasets import Batch, Dataset
from autotune_qnn.evaluation.metrics import Accuracy, AccuracyCounter, Agreement, AgreementCounter

Array = npt.NDArray[Any]

REFERENCE = "reference"


class Runner(Protocol):
    """Anything that runs a model: a session, the source framework's runner."""

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """The model's outputs for one batch."""
        ...


@dataclass(frozen=True, slots=True)
class Comparison:
    """Each build's agreement with the reference; where labels are, the accuracy of all of them."""

    agreement: dict[str, Agreement]
    accuracy: dict[str, Accuracy] | None


def compare(
    builds: Mapping[str, Runner],
    reference: Runner,
    datasets: Sequence[Dataset],
    step: Callable[[int], object] = lambda count: None,
) -> Comparison:
    """Run every dataset through the reference and every build; `step` is told how many elements are done."""
    agreements = {name: AgreementCounter() for name in builds}
    accuracies = {name: AccuracyCounter() for name in (*builds, REFERENCE)}
    labelled = False
    for dataset in datasets:
        labelled = labelled or dataset.labels is not None
        for batch in dataset.batches():
            expected = _elements(reference.run(batch.inputs), batch)
            _score(accuracies[REFERENCE], expected, batch)
            for name, build in builds.items():
                outputs = _elements(build.run(batch.inputs), batch)
                for mine, theirs in zip(outputs, expected, strict=True):
                    agreements[name].add(mine, theirs)
                _score(accuracies[name], outputs, batch)
            step(batch.count)
    return Comparison(
        {name: counter.result() for name, counter in agreements.items()},
        {name: counter.result() for name, counter in accuracies.items()} if labelled else None,
    )


def _elements(outputs: Sequence[Array], batch: Batch) -> list[list[Array]]:
    """Outputs of each element that counts. One without the batch's axis belongs to the whole batch."""
    size = len(batch.inputs[0])
    return [
        [output[index] if output.ndim and len(output) == size and size > 1 else output for output in outputs]
        for index in range(batch.count)
    ]


def _score(counter: AccuracyCounter, outputs: Sequence[Sequence[Array]], batch: Batch) -> None:
    if batch.labels is not None:
        for element, label in zip(outputs, batch.labels, strict=True):
            counter.add(element[0], label)
