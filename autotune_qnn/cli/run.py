"""`autotune-qnn run`: an exported library on an image, on arrays or on random inputs."""

from __future__ import annotations

import argparse
import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from autotune_qnn.build.manifest import write_whole
from autotune_qnn.cli.images import chosen_recipe
from autotune_qnn.cli.results import check_writable, class_names, read_labels, write_text
from autotune_qnn.cli.terminal import show
from autotune_qnn.errors import UsageError
from autotune_qnn.evaluation.datasets import Dataset, open_dataset, random_inputs
from autotune_qnn.evaluation.latency import Latency, Plan, measure
from autotune_qnn.evaluation.metrics import ranked
from autotune_qnn.evaluation.preprocessing import ImageRecipe
from autotune_qnn.runtime.session import Session

Array = npt.NDArray[Any]


def run(arguments: argparse.Namespace) -> int:
    """Run the subcommand."""
    if not 0 <= arguments.rounds <= 100_000:
        raise UsageError(f"--rounds has to be from 0 to 100000, not {arguments.rounds}")
    if arguments.seed < 0:
        raise UsageError(f"--seed has to be at least 0, not {arguments.seed}")
    check_writable(arguments.output, "--output")
    check_writable(arguments.json, "--json")
    labels = read_labels(arguments.labels)
    with Session.load(arguments.library, threads=arguments.threads) as session:
        dataset = _dataset(arguments, session)
        outputs, first = _outputs(session, dataset)
        latency = None
        if arguments.rounds:
            measured, _ = measure({"run": session}, first, Plan(rounds=arguments.rounds))
            latency = measured["run"]
    rows = [_row(index, values[0], labels) for index, values in enumerate(zip(*outputs, strict=True))]
    _print(session, dataset, rows, latency)
    if arguments.output is not None:
        _write_outputs(arguments.output, [spec.name for spec in session.outputs], outputs)
    if arguments.json is not None:
        data = {
            "library": str(arguments.library),
            "model": session.manifest.model,
            "threads": session.threads,
            "top5": rows,
            "latency": None if latency is None else dataclasses.asdict(latency),
        }
        write_text(arguments.json, json.dumps(data, indent=2) + "\n")
    return 0


def _dataset(arguments: argparse.Namespace, session: Session) -> Dataset:
    if arguments.input is None:
        return random_inputs(session.inputs, session.manifest.batch, arguments.seed)
    record = session.manifest.images
    recipe = ImageRecipe() if record is None else ImageRecipe.from_record(record)
    return open_dataset(arguments.input, session.inputs, chosen_recipe(arguments, recipe))


def _outputs(session: Session, dataset: Dataset) -> tuple[list[Array], list[Array]]:
    """Every output over the whole dataset, elements along axis 0, and the first batch's inputs."""
    collected: list[list[Array]] = [[] for _ in session.outputs]
    first: list[Array] = []
    for batch in dataset.batches():
        first = first or batch.inputs
        for values, output in zip(collected, session.run(batch.inputs), strict=True):
            whole = output if output.ndim else output[None]
            values.append(whole[: batch.count])
    return [np.concatenate(values) for values in collected], first


def _row(index: int, scores: Array, labels: tuple[str, ...]) -> dict[str, Any]:
    classes = tuple(ranked(scores))
    flat = scores.reshape(-1)
    return {
        "index": index,
        "classes": list(classes),
        "names": list(class_names(classes, labels)),
        "scores": [float(flat[number]) for number in classes],
    }


def _print(session: Session, dataset: Dataset, rows: list[dict[str, Any]], latency: Latency | None) -> None:
    show(f"{session.manifest.model} on {dataset.name}, {session.threads} thread(s)")
    for row in rows[:20]:
        names = row["names"] or [""] * len(row["classes"])
        best = ", ".join(
            f"{number} {name} ({score:g})".replace("  ", " ")
            for number, name, score in zip(row["classes"], names, row["scores"], strict=True)
        )
        show(f"{row['index']}: {best}")
    if len(rows) > 20:
        show(f"... {len(rows) - 20} more")
    if latency is not None:
        show(
            f"latency  median {latency.median_ms:.4f} ms, mean {latency.mean_ms:.4f}, "
            f"p10 {latency.p10_ms:.4f}, p90 {latency.p90_ms:.4f}, min {latency.min_ms:.4f}, "
            f"std {latency.std_ms:.4f} over {latency.repeats} repeats"
        )


def _write_outputs(path: Path, names: list[str], outputs: list[Array]) -> None:
    buffer = io.BytesIO()
    keys = ["outputs"] if len(outputs) == 1 else names
    np.savez(buffer, **dict(zip(keys, outputs, strict=True)))
    try:
        write_whole(path, buffer.getvalue())
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror or error}") from None
