"""The report of a run, as one dataclass, and its JSON. Imports neither TVM nor a framework."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from typing import Any

from autotune_qnn.evaluation.latency import Latency, Noise
from autotune_qnn.evaluation.metrics import Accuracy, Agreement

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class Coverage:
    """Tasks built with the best of their history, with a default schedule, and with neither."""

    tuned: int
    fallback: int
    missing: int


@dataclass(frozen=True, slots=True)
class LatencySection:
    """Latency of the untuned and the tuned build and of the source framework, measured in turns."""

    before: Latency
    after: Latency
    reference: Latency


@dataclass(frozen=True, slots=True)
class AgreementSection:
    """Agreement of the untuned and the tuned build with the source framework."""

    before: Agreement
    after: Agreement


@dataclass(frozen=True, slots=True)
class AccuracySection:
    """Accuracy of the untuned and the tuned build and of the source framework on labelled data."""

    before: Accuracy
    after: Accuracy
    reference: Accuracy


@dataclass(frozen=True, slots=True)
class Speedup:
    """Ratios of medians: how often as fast the tuned build is as the untuned one and as the framework."""

    over_before: float
    over_reference: float

    @classmethod
    def of(cls, latency: LatencySection) -> Speedup:
        """Divide the medians."""
        after = max(latency.after.median_ms, 1e-5)
        return cls(
            over_before=round(latency.before.median_ms / after, 3),
            over_reference=round(latency.reference.median_ms / after, 3),
        )


@dataclass(frozen=True, slots=True)
class Tuning:
    """The log that the build was made from, and what this run added to it; failures are counted by kind.

    `trials_while_busy` were measured while the machine was busy. `records_elsewhere` of `logs_elsewhere` other logs
    taught the cost model; `tasks_elsewhere` of this model's tasks stand in them too. `tasks_set_aside` were built with
    default schedules although there are records of them, as all are of another kind of CPU.
    """

    log: str
    tuner: str
    trials_in_log: int
    new_trials: int
    failures: dict[str, int]
    seconds: float
    trials_while_busy: int = 0
    records_elsewhere: int = 0
    logs_elsewhere: int = 0
    tasks_elsewhere: int = 0
    tasks_set_aside: int = 0


@dataclass(frozen=True, slots=True)
class Prediction:
    """The first classes of one image: class numbers, their names (empty without --labels) and raw scores."""

    image: str
    classes: tuple[int, ...]
    names: tuple[str, ...]
    scores: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that a run found out; the table and the JSON are made from it and nothing else. `weights` says where a
    model's weights come from, where the project chose them; `remarks` are the frontend's on how it was imported;
    `better_target` what the CPU offers beyond the target.
    """

    model: str
    model_sha256: str
    frontend: str
    target: str
    cpu: str
    threads: int
    arithmetic: str
    batch: int
    versions: dict[str, str]
    created: str
    operators: dict[str, int]
    coverage: Coverage
    tuning: Tuning
    latency: LatencySection
    speedup: Speedup
    noise: Noise
    agreement: AgreementSection
    data: tuple[str, ...]
    preprocessing: str | None = None
    accuracy: AccuracySection | None = None
    predictions: tuple[Prediction, ...] = ()
    weights: str | None = None
    remarks: tuple[str, ...] = ()
    better_target: str | None = None
    schema_version: int = SCHEMA_VERSION

    def to_dict(self) -> dict[str, Any]:
        """The JSON's object. `accuracy`, `preprocessing`, `weights` and `better_target` are left out where there is
        nothing to say.
        """
        data = dataclasses.asdict(self)
        for name in ("accuracy", "preprocessing", "weights", "better_target"):
            if data[name] is None:
                del data[name]
        return _plain(data)

    def to_json(self) -> str:
        """The JSON's text. A difference that is not finite (an output of the wrong shape) becomes null."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
