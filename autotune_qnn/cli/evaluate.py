"""Measures an untuned and a tuned build beside the source framework and makes the report."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from autotune_qnn.build.model import Built, now, versions
from autotune_qnn.cli.common import Source
from autotune_qnn.cli.results import class_names, read_labels
from autotune_qnn.engines.relax.target import TargetSpec
from autotune_qnn.errors import UsageError
from autotune_qnn.evaluation.compare import REFERENCE, Comparison, Runner, compare
from autotune_qnn.evaluation.datasets import Dataset, ImageDataset, open_dataset, open_images, random_inputs
from autotune_qnn.evaluation.latency import Latency, Noise, Plan, measure
from autotune_qnn.evaluation.metrics import ranked
from autotune_qnn.host import cpu_model
from autotune_qnn.report.model import (
    AccuracySection,
    AgreementSection,
    Coverage,
    LatencySection,
    Prediction,
    Report,
    Speedup,
    Tuning,
)
from autotune_qnn.runtime.session import Session

BEFORE, AFTER = "before", "after"


@dataclass(frozen=True)
class Inputs:
    """The data of an evaluation: random inputs, then what the user gave."""

    datasets: tuple[Dataset, ...]
    labels: tuple[str, ...]
    rounds: int

    @property
    def images(self) -> tuple[ImageDataset, ...]:
        """The single images, whose first classes are shown."""
        return tuple(d for d in self.datasets if isinstance(d, ImageDataset) and len(d) == 1)

    @property
    def preprocessing(self) -> str | None:
        """How images became inputs; None without images."""
        return next((d.preprocessing.describe() for d in self.datasets if isinstance(d, ImageDataset)), None)


def open_inputs(arguments: argparse.Namespace, source: Source) -> Inputs:
    """Open everything that the options name, so that a mistake shows before the tuning."""
    if not 0 <= arguments.samples <= 1_000_000:
        raise UsageError(f"--samples has to be from 0 to 1000000, not {arguments.samples}")
    if not 1 <= arguments.rounds <= 100_000:
        raise UsageError(f"--rounds has to be from 1 to 100000, not {arguments.rounds}")
    model = source.model
    paths: list[Path] = [*arguments.input, *([arguments.dataset] if arguments.dataset else [])]
    if not paths and not source.pictures and arguments.samples == 0:
        raise UsageError("--samples 0 leaves nothing to compare outputs on; give --input or --dataset")
    datasets: list[Dataset] = [open_dataset(path, model.inputs, source.recipe) for path in paths]
    if source.pictures:
        own = f"the project's {len(source.pictures)} pictures"
        datasets.insert(0, open_images(own, source.pictures, model.inputs, source.recipe))
    if arguments.samples:
        datasets.insert(0, random_inputs(model.inputs, arguments.samples, arguments.seed))
    inputs = Inputs(tuple(datasets), read_labels(arguments.labels), arguments.rounds)
    for image in inputs.images:
        image.element(0)
    return inputs


def evaluate(
    source: Source,
    target: TargetSpec,
    builds: tuple[Built, Built],
    inputs: Inputs,
    tuning: Tuning,
    *,
    quiet: bool,
) -> Report:
    """Compare the builds (before, after tuning) with the framework's own run, and measure all three."""
    threads = builds[1].manifest.threads
    frontend, model = source.frontend, source.model
    with (
        Session.load(builds[0].library, threads=threads) as before,
        Session.load(builds[1].library, threads=threads) as after,
        frontend.reference(model, threads) as reference,
    ):
        total = sum(len(dataset) for dataset in inputs.datasets)
        with tqdm(
            total=total, desc="comparing", unit="input", file=sys.stderr, disable=quiet or None, leave=False
        ) as bar:
            comparison = compare({BEFORE: before, AFTER: after}, reference, inputs.datasets, bar.update)
        predictions = tuple(_predict(after, image, inputs.labels) for image in inputs.images)
        example = next(inputs.datasets[0].batches()).inputs
        latency, noise = measure(
            {BEFORE: before, AFTER: after, REFERENCE: reference}, example, Plan(rounds=inputs.rounds)
        )
    return _report(source, target, builds[1], inputs, tuning, comparison, latency, noise, predictions)


def _report(
    source: Source,
    target: TargetSpec,
    built: Built,
    inputs: Inputs,
    tuning: Tuning,
    comparison: Comparison,
    latency: dict[str, Latency],
    noise: Noise,
    predictions: Sequence[Prediction],
) -> Report:
    model, manifest = source.model, built.manifest
    accuracy = comparison.accuracy if source.trained else None
    section = LatencySection(latency[BEFORE], latency[AFTER], latency[REFERENCE])
    return Report(
        model=model.name,
        model_sha256=model.sha256,
        frontend=model.frontend,
        target=target.canonical,
        cpu=cpu_model(),
        threads=manifest.threads,
        arithmetic=model.arithmetic.value,
        batch=model.batch,
        versions=versions(),
        created=now(),
        operators=dict(model.operators),
        coverage=Coverage(manifest.tuned, manifest.fallback, manifest.missing),
        tuning=tuning,
        latency=section,
        speedup=Speedup.of(section),
        noise=noise,
        agreement=AgreementSection(comparison.agreement[BEFORE], comparison.agreement[AFTER]),
        data=tuple(dataset.name for dataset in inputs.datasets),
        preprocessing=inputs.preprocessing,
        accuracy=None
        if accuracy is None
        else AccuracySection(accuracy[BEFORE], accuracy[AFTER], accuracy[REFERENCE]),
        predictions=tuple(predictions),
        weights=source.weights,
        remarks=model.remarks,
        better_target=target.better(),
    )


def _predict(runner: Runner, image: ImageDataset, labels: tuple[str, ...]) -> Prediction:
    output = runner.run(next(image.batches()).inputs)[0]
    scores = (output[0] if output.ndim > 1 else output).reshape(-1)
    classes = tuple(ranked(scores))
    return Prediction(
        image.name, classes, class_names(classes, labels), tuple(float(scores[number]) for number in classes)
    )
