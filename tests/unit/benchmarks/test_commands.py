"""Commands of the folder benchmarks: whatever cannot be used ends them with one line and the error's exit code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from autotune_qnn.errors import TargetError, UsageError
from benchmarks import sketches, tuning
from benchmarks.lib.command import build_options

Main = Callable[[Sequence[str]], int]


@pytest.mark.parametrize(
    ("main", "words", "code", "said"),
    [
        (tuning.main, ["replay", "nowhere"], UsageError.exit_code, "nowhere: no recordings"),
        (tuning.main, ["replay", "nowhere", "--model", "x"], UsageError.exit_code, "replay knows no --model"),
        (tuning.main, ["run", "--target", "cuda"], TargetError.exit_code, "target kind 'cuda'"),
        (
            sketches.main,
            ["search", "folder", "--target", "cuda"],
            TargetError.exit_code,
            "target kind 'cuda'",
        ),
        (sketches.main, ["measure", "nowhere"], UsageError.exit_code, "run search first"),
        (sketches.main, ["measure", "nowhere", "--threads", "2"], UsageError.exit_code, "knows no --threads"),
    ],
)
def test_one_line_and_a_code(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    main: Main,
    words: list[str],
    code: int,
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert said in line


def test_unknown_ways_of_making_schedules(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        sketches.main(["search", "folder", "--methods", "sketches,guesses"])
    assert "one or more of stock, sketches, templates" in capsys.readouterr().err


def test_options_of_build_are_passed_on() -> None:
    options = build_options(["--model", "m.tflite", "--target", "llvm", "--threads", "2"])
    assert (options.model, options.target, options.threads) == ("m.tflite", "llvm", 2)
