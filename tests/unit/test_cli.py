from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from autotune_qnn import errors
from autotune_qnn.cli import doctor
from autotune_qnn.cli.main import main, one_line
from autotune_qnn.cli.options import ARITHMETICS, EXIT_CODES, FRONTENDS, make_parser
from autotune_qnn.cli.results import class_names, read_labels
from autotune_qnn.cli.tasks import select_tasks, task_table
from autotune_qnn.errors import AutotuneQnnError, DatasetError, UsageError
from autotune_qnn.frontends import FRONTENDS as KNOWN_FRONTENDS
from autotune_qnn.quantization import Arithmetic

PROJECT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted(path for path in (PROJECT / "scripts").glob("*.py") if not path.name.startswith("_"))


def test_help_names_every_exit_code() -> None:
    codes = {AutotuneQnnError.exit_code, 0, 130}
    codes |= {
        kind.exit_code
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, AutotuneQnnError)
    }
    listed = {int(line.split()[0]) for line in EXIT_CODES.splitlines()[1:] if line.strip()}
    assert listed == codes


def test_choices_are_those_of_the_package() -> None:
    assert tuple(member.value for member in Arithmetic) == ARITHMETICS
    assert tuple(KNOWN_FRONTENDS) == FRONTENDS


@pytest.mark.parametrize("command", ["tune", "build", "run", "doctor"])
def test_help_of_each_command(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        make_parser().parse_args([command, "--help"])
    assert end.value.code == 0
    assert "exit codes" in capsys.readouterr().out


def test_help_needs_no_tvm() -> None:
    code = (
        "import sys; sys.modules['tvm'] = None; import autotune_qnn.cli.main as c; c.main(['tune', '--help'])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr.decode()


@pytest.mark.parametrize(
    "words",
    [[], ["tune", "--trials", "x"], ["tune", "--trial", "3"], ["nonsense"], ["build", "--model", "x"]],
)
def test_wrong_options_end_with_code_two(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 2
    assert "error" in capsys.readouterr().err


@dataclass(frozen=True)
class FakeTask:
    name: str
    key: str = "k"
    kind: str = "conv2d"
    weight: int = 2
    macs: int = 5_000_000


TASKS = [FakeTask(name) for name in "abcdef"]


@pytest.mark.parametrize(
    ("text", "names"),
    [(None, "abcdef"), ("0", "a"), ("0,2-4", "acde"), ("5,0", "af"), ("1-1, 1", "b"), ("0-5", "abcdef")],
)
def test_task_selection(text: str | None, names: str) -> None:
    assert "".join(task.name for task in select_tasks(TASKS, text)) == names


@pytest.mark.parametrize("text", ["", "x", "6", "0-6", "3-2", "1-", "-1", "1,,2", "²", "99999999999"])
def test_wrong_task_selections(text: str) -> None:
    with pytest.raises(UsageError, match="--tasks"):
        select_tasks(TASKS, text)


def test_task_table_without_a_log() -> None:
    lines = task_table(TASKS, None).splitlines()
    assert len(lines) == 7
    assert lines[1].split() == ["0", "2", "5.00", "0", "-", "conv2d", "a"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("names.txt", "cat\ndog\n"),
        ("names.json", '["cat", "dog"]'),
        ("names.json", '{"1": ["n02", "dog"], "0": ["n01", "cat"]}'),
    ],
)
def test_class_names(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    labels = read_labels(path)
    assert class_names((1, 0, 7), labels) == ("dog", "cat", "?")
    assert class_names((1,), read_labels(None)) == ()


@pytest.mark.parametrize(
    ("name", "content"), [("a.json", b"{"), ("a.json", b"3"), ("a.txt", b"\xff\xfe\xff"), ("none", None)]
)
def test_wrong_class_names(tmp_path: Path, name: str, content: bytes | None) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DatasetError):
        read_labels(path)


def test_errors_take_one_line() -> None:
    assert one_line("a:\n  b\n  c") == "a: b c"


def test_the_wrong_ffi_is_refused_before_tvm_is_used(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = importlib.metadata.version
    monkeypatch.setattr(
        importlib.metadata, "version", lambda name: "0.1.15.post2" if name == "apache-tvm-ffi" else real(name)
    )
    assert main(["run", "none.so"]) == 7
    assert "0.1.15.post2" in capsys.readouterr().err


def test_a_package_that_is_missed_late_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(_arguments: object) -> int:
        raise ModuleNotFoundError("No module named 'xgboost'", name="xgboost")

    monkeypatch.setattr("autotune_qnn.cli.doctor.run", run)
    assert main(["doctor"]) == 7
    assert "the package xgboost is not installed" in capsys.readouterr().err


def test_doctor_is_content(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["doctor", "--log-dir", str(tmp_path / "logs")]) == 0
    out = capsys.readouterr().out
    assert "FAIL" not in out
    assert "saved and loaded" in out
    assert not (tmp_path / "logs").exists()


def test_doctor_names_what_is_wrong(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(doctor, "_STORE_A_MODULE", "import os; os.kill(os.getpid(), 11)")
    code = main(["doctor", "--log-dir", str(tmp_path / "file" / "logs"), "--target", "llvm -mcpu=nonsense"])
    out = capsys.readouterr().out
    assert code == 10
    assert "SIGSEGV" in out
    assert "nonsense" in out
    assert "cannot be written" in out


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_start_from_anywhere(script: Path, tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, str(script), "--help"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert f"autotune-qnn {script.stem}" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "extras"),
    [([], ""), (["--frontend", "pytorch"], " pytorch"), (["--frontend=pytorch"], " pytorch")],
)
def test_a_bare_interpreter_is_told_how_to_set_up(tmp_path: Path, arguments: list[str], extras: str) -> None:
    """The scripts copied to where there is no .venv, in an interpreter that finds no packages."""
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    for name in ("tune.py", "_bootstrap.py"):
        (scripts / name).write_bytes((PROJECT / "scripts" / name).read_bytes())
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    result = subprocess.run(
        [sys.executable, "-S", str(scripts / "tune.py"), *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 7
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.endswith(f"{scripts / 'setup'}{extras}\n")


def test_the_readme_has_the_same_exit_codes() -> None:
    text = (PROJECT / "README.md").read_text(encoding="utf-8")
    for line in EXIT_CODES.splitlines()[1:]:
        code, meaning = line.strip().split(None, 1)
        row = next(row for row in text.splitlines() if row.startswith(f"| {code} |"))
        assert meaning.replace(" (Ctrl-C)", "") in row
