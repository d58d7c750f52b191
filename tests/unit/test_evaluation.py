from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from autotune_qnn.errors import DatasetError
from autotune_qnn.evaluation.compare import compare
from autotune_qnn.evaluation.datasets import ArrayDataset, ImageDataset, open_dataset, random_inputs
from autotune_qnn.evaluation.latency import Latency, Plan, measure
from autotune_qnn.evaluation.metrics import AccuracyCounter, AgreementCounter, ranked
from autotune_qnn.evaluation.preprocessing import Fit, ImageRecipe, Preprocessing


@dataclass(frozen=True)
class Spec:
    name: str
    shape: tuple[int, ...]
    dtype: str


IMAGES = [Spec("image", (1, 8, 6, 3), "uint8")]
VECTORS = [Spec("x", (1, 4), "int8")]


def test_ranked_takes_the_lower_index_among_equals() -> None:
    assert ranked(np.array([3, 7, 7, 1], dtype=np.uint8)) == [1, 2, 0, 3]
    assert ranked(np.array([-128, 127], dtype=np.int8)) == [1, 0]


def test_agreement_counts_inputs_elements_and_the_largest_difference() -> None:
    counter = AgreementCounter()
    expected = [np.array([0, 10, 250], dtype=np.uint8)]
    counter.add([np.array([0, 10, 250], dtype=np.uint8)], expected)
    counter.add([np.array([3, 10, 0], dtype=np.uint8)], expected)
    result = counter.result()
    assert result.identical == 0.5
    assert (result.identical_samples, result.samples) == (1, 2)
    assert result.identical_elements == pytest.approx(4 / 6, abs=1e-6)
    assert result.max_difference == 250
    assert result.top1 == 0.5
    assert result.top5 == 1.0


def test_a_missing_or_misshapen_output_never_agrees() -> None:
    counter = AgreementCounter()
    counter.add([], [np.zeros(3)])
    counter.add([np.zeros((1, 3))], [np.zeros(3)])
    assert counter.result().identical == 0
    assert counter.result().max_difference == float("inf")


def test_only_a_full_count_gives_one() -> None:
    counter = AgreementCounter()
    same = [np.zeros(3_000_000, dtype=np.int8)]
    other = [same[0].copy()]
    other[0][5] = 1
    counter.add(other, same)
    assert counter.result().identical_elements < 1


def test_accuracy() -> None:
    counter = AccuracyCounter()
    scores = np.arange(10)
    for label in (9, 5, 4):
        counter.add(scores, label)
    assert (counter.result().top1, counter.result().top5) == (0.333333, 0.666667)


@dataclass
class Doubler:
    error: int = 0

    def run(self, inputs: Sequence[Any]) -> list[Any]:
        return [(inputs[0].astype(np.int32) * 2 + self.error)]


def test_compare_pads_the_last_batch_and_does_not_count_the_padding() -> None:
    data = np.arange(12, dtype=np.int8).reshape(3, 4)
    dataset = ArrayDataset("three", 2, [data], [3, 3, 0])
    result = compare({"before": Doubler(), "after": Doubler(1)}, Doubler(), [dataset])
    assert result.agreement["before"].identical == 1
    assert result.agreement["before"].samples == 3
    assert result.agreement["after"].max_difference == 1
    assert result.accuracy is not None
    assert result.accuracy["reference"].top1 == pytest.approx(2 / 3, abs=1e-6)


def test_compare_without_labels_has_no_accuracy() -> None:
    result = compare({"before": Doubler()}, Doubler(), [random_inputs(VECTORS, 5, 0)])
    assert result.accuracy is None
    assert result.agreement["before"].samples == 5


def test_random_inputs_are_seeded_and_span_the_dtype() -> None:
    first, again = random_inputs(VECTORS, 500, 7), random_inputs(VECTORS, 500, 7)
    assert np.array_equal(first.arrays[0], again.arrays[0])
    assert first.arrays[0].min() == -128
    assert first.arrays[0].max() == 127
    assert not np.array_equal(first.arrays[0], random_inputs(VECTORS, 500, 8).arrays[0])


def test_npz_with_labels(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    inputs = np.arange(8, dtype=np.int8).reshape(2, 4)
    np.savez_compressed(path, inputs=inputs, labels=np.array([1, 2]))
    dataset = open_dataset(path, VECTORS, ImageRecipe(Fit.RESIZE))
    assert len(dataset) == 2
    assert dataset.labels == (1, 2)
    assert np.array_equal(dataset.element(1)[0], inputs[1])


def bad_npz(path: Path, kind: str) -> None:
    good = np.zeros((2, 4), dtype=np.int8)
    if kind == "pickle":
        np.savez(path, inputs=np.array([{}], dtype=object))
    elif kind == "dtype":
        np.savez(path, inputs=good.astype(np.uint8))
    elif kind == "shape":
        np.savez(path, inputs=np.zeros((2, 5), dtype=np.int8))
    elif kind == "name":
        np.savez(path, other=good)
    elif kind == "labels":
        np.savez(path, inputs=good, labels=np.array([1.5, 2.5]))
    elif kind == "empty":
        np.savez(path, inputs=good[:0])
    elif kind == "not a zip":
        path.write_bytes(b"not a zip")
    elif kind == "truncated":
        np.savez(path, inputs=good)
        path.write_bytes(path.read_bytes()[:100])
    elif kind == "header":
        buffer = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            buffer, {"descr": "|i1", "fortran_order": False, "shape": (10**12, 4)}
        )
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("inputs.npy", buffer.getvalue())


@pytest.mark.parametrize(
    "kind",
    ["pickle", "dtype", "shape", "name", "labels", "empty", "not a zip", "truncated", "header", "missing"],
)
def test_bad_npz_is_refused_in_one_line(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "data.npz"
    bad_npz(path, kind)
    with pytest.raises(DatasetError) as error:
        open_dataset(path, VECTORS, ImageRecipe(Fit.RESIZE))
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def picture(path: Path, size: tuple[int, int] = (12, 8)) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("labels.txt", "a.png 3\nb c.png 4\n"),
        ("labels.csv", "file,class\na.png,3\nb c.png,4\n"),
        ("labels.json", json.dumps({"a.png": 3, "b c.png": "4"})),
    ],
)
def test_image_folder_with_labels(tmp_path: Path, name: str, text: str) -> None:
    for image in ("a.png", "b c.png", "unlabelled.png"):
        picture(tmp_path / image)
    (tmp_path / name).write_text(text)
    dataset = open_dataset(tmp_path, IMAGES, ImageRecipe(Fit.CROP))
    assert dataset.labels == (3, 4)
    assert dataset.element(0)[0].shape == (8, 6, 3)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("labels.txt", "a.png\n"),
        ("labels.txt", "missing.png 3\n"),
        ("labels.csv", "a.png,b,c\n"),
        ("labels.json", "[1]"),
        ("labels.json", "{"),
        ("labels.json", '{"a.png": "cat"}'),
    ],
)
def test_bad_labels_are_refused(tmp_path: Path, name: str, text: str) -> None:
    picture(tmp_path / "a.png")
    (tmp_path / name).write_text(text)
    with pytest.raises(DatasetError):
        open_dataset(tmp_path, IMAGES, ImageRecipe(Fit.CROP))


def test_images_become_pixels_of_the_models_dtype(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", (6, 8))
    unsigned = Preprocessing.for_input((1, 8, 6, 3), "uint8", ImageRecipe(Fit.RESIZE))
    signed = Preprocessing.for_input((1, 8, 6, 3), "int8", ImageRecipe(Fit.RESIZE))
    pixels = np.asarray(Image.open(tmp_path / "a.png"))
    assert np.array_equal(unsigned.load(tmp_path / "a.png"), pixels)
    assert np.array_equal(signed.load(tmp_path / "a.png"), pixels.astype(np.int16) - 128)
    grey = Preprocessing.for_input((1, 4, 4, 1), "uint8", ImageRecipe(Fit.CROP))
    assert grey.load(tmp_path / "a.png").shape == (4, 4, 1)
    assert "-128" in signed.describe()


def test_models_that_take_no_images_say_so() -> None:
    with pytest.raises(DatasetError, match="npz"):
        Preprocessing.for_input((1, 640), "int8", ImageRecipe(Fit.RESIZE))


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\x89PNG\r\n\x1a\n broken"])
def test_broken_images_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content)
    dataset = open_dataset(path, IMAGES, ImageRecipe(Fit.RESIZE))
    assert isinstance(dataset, ImageDataset)
    with pytest.raises(DatasetError):
        dataset.element(0)


def test_a_truncated_image_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    picture(path, (60, 60))
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(DatasetError):
        open_dataset(path, IMAGES, ImageRecipe(Fit.RESIZE)).element(0)


class Clock:
    """A runner whose runs take a fixed time, and how often it was asked."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.calls: list[tuple[int, int]] = []

    def time(self, inputs: Sequence[Any], number: int, repeat: int) -> list[float]:
        self.calls.append((number, repeat))
        return [self.seconds] * repeat


def test_latency_is_measured_in_turns_of_the_wanted_length() -> None:
    slow, fast = Clock(0.010), Clock(0.001)
    latency, noise = measure({"slow": slow, "fast": fast}, [], Plan(rounds=12, min_repeat_ms=20))
    assert latency["slow"].median_ms == 10
    assert latency["fast"].repeats == 12
    assert latency["slow"].runs_per_repeat in (2, 3)
    assert latency["fast"].runs_per_repeat in (20, 21)
    assert len(slow.calls) == 2 + 2 * 12
    assert noise.spread >= 1


def test_measuring_ends_with_its_time() -> None:
    ticks = iter(range(0, 100_000, 7))
    latency, _ = measure(
        {"only": Clock(0.001)}, [], Plan(rounds=1000, budget_s=100), clock=lambda: float(next(ticks))
    )
    assert 10 <= latency["only"].repeats < 30


def test_latency_figures() -> None:
    latency = Latency.of([0.001, 0.002, 0.003], 5)
    assert (latency.min_ms, latency.median_ms, latency.mean_ms) == (1, 2, 2)
    assert latency.p10_ms == pytest.approx(1.2)
    assert latency.p90_ms == pytest.approx(2.8)
    assert latency.std_ms == pytest.approx(0.8165, abs=1e-4)
    assert latency.runs_per_repeat == 5
