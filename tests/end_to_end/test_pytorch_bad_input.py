"""What a user can get wrong with PyTorch's files ends in one clear line and a documented exit code."""

from __future__ import annotations

from pathlib import Path

import pytest

from autotune_qnn.cli.main import main
from tests.support.torch import needs_torch

pytestmark = needs_torch
pytest.importorskip("torch", reason="PyTorch is not installed: scripts/setup pytorch")

import torch  # noqa: E402

from tests.support.small_pytorch import SHAPE, Branching, Odd, scripted, small_network  # noqa: E402

WARNING = "brings its own code, which runs now: load only files that you trust"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a good network and what goes wrong."""
    folder = tmp_path_factory.mktemp("files")
    good = scripted(small_network(), folder / "good.pt").read_bytes()
    (folder / "cut.pt").write_bytes(good[: len(good) // 2])
    (folder / "cut_short.pt").write_bytes(good[:-900])
    (folder / "holed.pt").write_bytes(good[: len(good) // 2] + bytes(200) + good[len(good) // 2 + 200 :])
    (folder / "empty.pt").write_bytes(b"")
    scripted(Branching(), folder / "branching.pt")
    scripted(Odd(), folder / "odd.pt")
    plain = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU()).eval()
    scripted(plain, folder / "float.pt")
    torch.save(small_network(), folder / "pickled.pt")
    torch.save(small_network().state_dict(), folder / "numbers.pth")
    torch.export.save(torch.export.export(plain, (torch.zeros(SHAPE),)), str(folder / "float.pt2"))
    whole = (folder / "float.pt2").read_bytes()
    (folder / "cut.pt2").write_bytes(whole[: len(whole) // 2])
    return folder


@pytest.mark.parametrize(
    ("name", "shape", "code", "message"),
    [
        ("odd.pt", "1,3,8,8", 4, "aten::cumsum ×1 | aten::erfinv ×2 | aten::roll ×1"),
        ("float.pt", "1,3,8,8", 3, "is a float network"),
        ("branching.pt", "1,3,8,8", 3, "control flow depends on the values of its input"),
        ("good.pt", "1,4,8,8", 2, "does not run on an input of float32 [1, 4, 8, 8]"),
        ("good.pt", "3,8", 2, "does not run on an input of float32 [3, 8]"),
        ("good.pt", "0,3,8,8", 2, "an input shape needs positive extents, not 0,3,8,8"),
        ("good.pt", "", 2, "a TorchScript file does not say what its input looks like: --input-shape"),
        ("cut.pt", "1,3,8,8", 3, "cut.pt is damaged"),
        ("cut_short.pt", "", 3, "cut_short.pt is damaged"),
        ("holed.pt", "1,3,8,8", 3, "holed.pt cannot be loaded as TorchScript"),
        ("empty.pt", "", 3, "holds neither TorchScript nor an exported program"),
        ("pickled.pt", "1,3,8,8", 3, "of a whole pickled module nothing is loaded: it could run any code"),
        ("numbers.pth", "", 3, "holds a state dict of 6 entries"),
        ("float.pt2", "", 3, "is a float network"),
        ("float.pt2", "1,3,9,9", 2, "was exported for an input of 1,3,8,8, not 1,3,9,9"),
        ("cut.pt2", "", 3, "cut.pt2 is damaged"),
        ("nothing.pt", "", 3, "there is no file"),
    ],
)
def test_one_line_and_a_code(
    name: str, shape: str, code: int, message: str, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--frontend", "pytorch", "--model", str(files / name), "--target", "native", "--trials", "0"]
    assert main(["tune", *words, *(["--input-shape", shape] if shape else [])]) == code
    *before, error = capsys.readouterr().err.splitlines()
    assert error.startswith("error: ")
    assert message in error
    assert all(line.startswith("WARNING: ") and WARNING in line for line in before)
    assert len(before) <= 1


def test_what_is_no_shape(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["tune", "--frontend", "pytorch", "--input-shape", "1x3x8"])
    assert end.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "--input-shape: takes whole numbers with commas between them, as 1,3,224,224, not '1x3x8'" in line
