"""Compares torchvision's quantized networks, built with default schedules, with PyTorch's own results.

    python benchmarks/agreement.py [--networks all|NAMES] [--engines made|NAMES] [--images FOLDER ...] [--json FILE]

Each network runs on real images (those in the folders and the project's own, then as many mirrored ones as are missing
from --count) and on as many random inputs, under each engine, on one thread; a row says how many inputs have outputs
that are identical in every element. Nothing is measured, so the machine may be busy. `made` stands for the engine that
a network is made for. The largest networks take minutes each.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageOps

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from autotune_qnn.build.history import no_history
from autotune_qnn.build.model import build_model
from autotune_qnn.cli.common import parse_target
from autotune_qnn.engines.relax.target import TargetSpec
from autotune_qnn.errors import AutotuneQnnError
from autotune_qnn.evaluation.compare import compare
from autotune_qnn.evaluation.datasets import open_images, random_inputs
from autotune_qnn.evaluation.metrics import Agreement
from autotune_qnn.evaluation.preprocessing import IMAGE_SUFFIXES
from autotune_qnn.frontends import get_frontend
from autotune_qnn.frontends.base import ImportOptions
from autotune_qnn.frontends.tflite.archive import cache_folder
from autotune_qnn.host import cpu_model
from autotune_qnn.quantization import Arithmetic
from autotune_qnn.runtime.session import Session
from autotune_qnn.zoo.own_images import own_images
from autotune_qnn.zoo.torchvision import NETWORKS, Weights, torchvision_network
from benchmarks.lib.command import exit_code

MADE = "made"
OURS = "ours"


@dataclass(frozen=True)
class Row:
    """One network under one engine. `remarks` are the import's own."""

    network: str
    engine: str
    weights: str
    images: Agreement
    random: Agreement
    remarks: tuple[str, ...]
    seconds: float


def real_images(folders: Sequence[Path], count: int, scratch: Path) -> list[Path]:
    """`count` images: those of the folders, the project's own, and mirrored copies made in `scratch`."""
    found = [path for folder in folders for path in sorted(folder.iterdir())]
    paths = [path for path in found if path.suffix.lower() in IMAGE_SUFFIXES]
    paths = [*paths, *own_images()][:count]
    for place, path in enumerate(paths[: count - len(paths)]):
        mirrored = scratch / f"{place}_{path.stem}_mirrored.png"
        with Image.open(path) as image:
            ImageOps.mirror(image.convert("RGB")).save(mirrored)
        paths.append(mirrored)
    return paths


def row(
    name: str, engine: str, target: TargetSpec, paths: Sequence[Path], count: int, weights: Weights
) -> Row:
    """Import, build, run and compare."""
    start = time.monotonic()
    made = None if engine == MADE else engine
    network = torchvision_network(name, cache_folder(), weights=weights, engine=made)
    frontend = get_frontend("pytorch")
    options = ImportOptions(Arithmetic(made or network.engine), input_shape=network.input_shape, trusted=True)
    model = frontend.load(network.file, options)
    with tempfile.TemporaryDirectory() as folder:
        built = build_model(model, target, no_history, 1, Path(folder) / "net.so")
        images = open_images("images", paths, model.inputs, network.recipe)
        with Session.load(built.library, threads=1) as ours, frontend.reference(model, 1) as theirs:
            on_images, on_random = (
                compare({OURS: ours}, theirs, [dataset]).agreement[OURS]
                for dataset in (images, random_inputs(model.inputs, count, 0))
            )
    seconds = round(time.monotonic() - start, 1)
    return Row(name, model.arithmetic.value, network.weights, on_images, on_random, model.remarks, seconds)


def told(agreement: Agreement) -> str:
    """An agreement in a few words."""
    whole = f"{agreement.identical_samples:2d} of {agreement.samples}"
    if agreement.identical_samples == agreement.samples:
        return whole
    return f"{whole} ({agreement.identical_elements:.4%} of elements, at most {agreement.max_difference:g} apart)"


def parse(words: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", default="all", help="all, or names with commas")
    parser.add_argument("--engines", default=MADE, help="made, x86, fbgemm, onednn, qnnpack, with commas")
    parser.add_argument("--images", type=Path, nargs="*", default=[], help="folders of images")
    parser.add_argument("--count", type=int, default=20, help="real images, and random inputs")
    parser.add_argument("--weights", choices=[str(kind) for kind in Weights], default=str(Weights.RANDOM))
    parser.add_argument("--target", default="native")
    parser.add_argument("--json", type=Path, help="write the rows there, after each network")
    given = parser.parse_args(words)
    for folder in given.images:
        if not folder.is_dir():
            parser.error(f"--images: there is no folder {folder}")
    return given


def main(words: Sequence[str]) -> int:
    """Compare, print; 1 where a network could not be compared, or the code of an option's error."""
    return exit_code(lambda: _compared(parse(words)))


def _compared(arguments: argparse.Namespace) -> int:
    names = list(NETWORKS) if arguments.networks == "all" else arguments.networks.split(",")
    target = parse_target(arguments.target, to_run=True)
    print(f"{cpu_model()}, {target.canonical}, 1 thread")
    print("network              engine    real images   random inputs   seconds")
    rows: list[Row] = []
    failed = False
    with tempfile.TemporaryDirectory() as scratch:
        paths = real_images(arguments.images, arguments.count, Path(scratch))
        for name in names:
            for engine in arguments.engines.split(","):
                try:
                    found = row(name, engine, target, paths, arguments.count, Weights(arguments.weights))
                except AutotuneQnnError as error:
                    failed = True
                    print(f"{name:20} {engine:9} {error}", file=sys.stderr)
                    continue
                rows.append(found)
                print(
                    f"{name:20} {found.engine:9} {told(found.images):13} {told(found.random):15} {found.seconds:7.1f}",
                    flush=True,
                )
                if arguments.json is not None:
                    text = json.dumps([dataclasses.asdict(done) for done in rows], indent=1)
                    arguments.json.write_text(text + "\n", encoding="utf-8")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
