"""How far two runs of a model agree, and how often a run is right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

DIGITS = 6
"""Decimal places that shares are kept with."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """A build against the source framework, over `samples` inputs.

    identical: the share of inputs whose every output element is the same, `identical_samples` their number;
    identical_elements: the share of output elements; max_difference: the largest difference of an element, in
    quantization units (float outputs: as it is); top1, top5: the share of inputs with the same first class,
    the same set of first five classes.
    """

    identical: float
    identical_samples: int
    samples: int
    identical_elements: float
    max_difference: float
    top1: float
    top5: float


@dataclass(frozen=True, slots=True)
class Accuracy:
    """The share of labelled inputs whose class is the first, or among the first five, of `samples`."""

    top1: float
    top5: float
    samples: int


def ranked(scores: Array, count: int = 5) -> list[int]:
    """The indices of the largest scores, largest first, the lower index first among equals."""
    flat = scores.reshape(-1)
    order = np.argsort(-flat.astype(np.float64), kind="stable")
    return [int(index) for index in order[:count]]


@dataclass(slots=True)
class AgreementCounter:
    """Adds up an Agreement, one input after the other."""

    samples: int = 0
    identical: int = 0
    elements: int = 0
    equal_elements: int = 0
    largest: float = 0.0
    top1: int = 0
    top5: int = 0

    def add(self, outputs: Sequence[Array], expected: Sequence[Array]) -> None:
        """Count one input's outputs against what was expected; a missing or misshapen output never agrees."""
        self.samples += 1
        fits = len(outputs) == len(expected) and all(
            mine.shape == theirs.shape for mine, theirs in zip(outputs, expected, strict=True)
        )
        self.elements += sum(theirs.size for theirs in expected)
        if not fits:
            self.largest = float("inf")
            return
        equal = 0
        for mine, theirs in zip(outputs, expected, strict=True):
            equal += int(np.count_nonzero(mine == theirs))
            if theirs.size:
                difference = np.abs(mine.astype(np.float64) - theirs.astype(np.float64)).max()
                self.largest = max(self.largest, float(difference))
        self.equal_elements += equal
        self.identical += equal == sum(theirs.size for theirs in expected)
        mine_first, theirs_first = ranked(outputs[0]), ranked(expected[0])
        self.top1 += mine_first[:1] == theirs_first[:1]
        self.top5 += set(mine_first) == set(theirs_first)

    def result(self) -> Agreement:
        """The agreement so far."""
        return Agreement(
            identical=_share(self.identical, self.samples),
            identical_samples=self.identical,
            samples=self.samples,
            identical_elements=_share(self.equal_elements, self.elements),
            max_difference=self.largest,
            top1=_share(self.top1, self.samples),
            top5=_share(self.top5, self.samples),
        )


@dataclass(slots=True)
class AccuracyCounter:
    """Adds up an Accuracy, one labelled input after the other."""

    samples: int = 0
    top1: int = 0
    top5: int = 0

    def add(self, scores: Array, label: int) -> None:
        """Count one input whose class is known."""
        first = ranked(scores)
        self.samples += 1
        self.top1 += first[0] == label
        self.top5 += label in first

    def result(self) -> Accuracy:
        """The accuracy so far."""
        return Accuracy(_share(self.top1, self.samples), _share(self.top5, self.samples), self.samples)


def _share(part: int, whole: int) -> float:
    """part/whole, rounded so that only a full count gives 1 and only none gives 0."""
    if whole == 0:
        return 0.0
    rounded = round(part / whole, DIGITS)
    smallest = 10.0**-DIGITS
    if part < whole and rounded == 1.0:
        return 1.0 - smallest
    return smallest if part and rounded == 0.0 else rounded
