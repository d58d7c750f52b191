"""The options of every subcommand. Imports nothing heavy, so that --help is quick and works without TVM."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NoReturn

import autotune_qnn

EXIT_CODES = """\
exit codes:
  0    done
  1    any other failure
  2    an option or argument that cannot be used
  3    a model file that is missing, damaged or not quantized
  4    a model with operators that are not supported (all of them are listed)
  5    a target that is unknown or cannot run on this machine
  6    a tuning log that cannot be read or written, or belongs to another target
  7    a package that is missing or has the wrong version
  8    an image, array file or folder that cannot be used as data
  9    a quantized operator that breaks its rules
  10   a model that could not be compiled, exported or loaded
  11   the source framework's runner failed, or an output differs where it must not
  130  interrupted (Ctrl-C); everything measured is kept
"""

ARITHMETICS = (
    *("xnnpack", "reference", "builtin"),
    *("x86", "fbgemm", "onednn", "qnnpack"),
    *("exported", "inductor"),
)
FRONTENDS = ("tflite", "pytorch", "mxnet")


def make_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    parser = _Parser(
        prog="autotune-qnn",
        description="Tunes pre-quantized networks with TVM and builds them exact and faster.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"autotune-qnn {autotune_qnn.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_tune(_command(commands, "tune", "tune a model, build it with the best of its history, and report"))
    _add_build(_command(commands, "build", "build a model with the best of its log and export a library"))
    _add_run(_command(commands, "run", "run an exported library"))
    _add_leaders(_command(commands, "leaders", "write the best records of tuning logs into another folder"))
    _add_doctor(_command(commands, "doctor", "check that this machine and installation can do the job"))
    return parser


class _Parser(argparse.ArgumentParser):
    def __init__(self, **settings: object) -> None:
        super().__init__(allow_abbrev=False, **settings)  # type: ignore[arg-type]  # argparse's many keywords

    def error(self, message: str) -> NoReturn:
        """One line, as for every other mistake; argparse would print the whole usage before it."""
        self.exit(2, f"error: {message} (see {self.prog} --help)\n")


def _command(commands: argparse._SubParsersAction[_Parser], name: str, text: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=text,
        description=text[0].upper() + text[1:] + ".",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    volume = parser.add_mutually_exclusive_group()
    volume.add_argument("-v", "--verbose", action="store_true", help="log every step")
    volume.add_argument("-q", "--quiet", action="store_true", help="log errors only, show no progress")
    return parser


def _add_model(parser: argparse.ArgumentParser) -> None:
    """The options of the group "model", which `tune` and `build` share: where it comes from, and what for."""
    group = parser.add_argument_group("model")
    _add_source(group)
    _add_arithmetic(group)
    group.add_argument(
        "--target",
        default="native",
        metavar="TARGET",
        help='"llvm -mcpu=cascadelake", a JSON dictionary, or native (default: this machine)',
    )
    group.add_argument("--threads", type=int, default=1, metavar="N", help="threads of the built model (1)")
    _add_log_dir(group, "where tuning logs are kept")


def _add_source(group: argparse._ActionsContainer) -> None:
    group.add_argument("--frontend", choices=FRONTENDS, default="tflite", help="source framework (tflite)")
    group.add_argument(
        "--model",
        metavar="FILE|NAME",
        help=".tflite file, or a .tgz or .zip of one; a TorchScript or exported program of PyTorch; the name of a "
        "quantized network of torchvision; without it the frontend's MobileNetV2 is downloaded",
    )
    group.add_argument(
        "--weights",
        choices=("auto", "pretrained", "random"),
        default="auto",
        help="of torchvision's networks: published ones, with random ones in their place where they cannot be had "
        "(auto, the default), published ones or nothing, or random ones",
    )
    group.add_argument(
        "--input-shape",
        type=_whole_numbers,
        metavar="N,C,H,W",
        help="shape of a PyTorch model's input (torchvision's networks: 1,3,224,224 or what they were trained on)",
    )
    group.add_argument("--batch", type=int, default=1, metavar="N", help="batch size fixed at import (1)")


def _add_arithmetic(group: argparse._ActionsContainer) -> None:
    group.add_argument(
        "--arithmetic",
        choices=ARITHMETICS,
        help="whose rounding to follow to the bit: TFLite's xnnpack (default), reference or builtin kernels; PyTorch's "
        "x86, fbgemm, onednn or qnnpack engine (default: the one that the model was made for); of exported programs "
        "as they stand (exported, the default) or as Inductor compiles them (inductor)",
    )


def _add_log_dir(group: argparse._ActionsContainer, text: str) -> None:
    folder = Path("tuning_logs")
    group.add_argument("--log-dir", type=Path, default=folder, metavar="DIR", help=f"{text} ({folder})")


def _add_labels(group: argparse._ActionsContainer) -> None:
    group.add_argument("--labels", type=Path, metavar="FILE", help="class names, one a line or a JSON list")


def _add_tune(parser: argparse.ArgumentParser) -> None:
    _add_model(parser)
    _add_search(parser.add_argument_group("tuning"))
    _add_measurement(parser.add_argument_group("measuring"))
    _add_evaluation(parser)
    output = parser.add_argument_group("results")
    output.add_argument("--json", type=Path, metavar="FILE", help="write the report as JSON")
    output.add_argument("--output", "-o", type=Path, metavar="FILE.so", help="keep the tuned library")


def _add_search(group: argparse._ActionsContainer) -> None:
    group.add_argument(
        "--tuner",
        choices=("autotvm", "autoscheduler", "both"),
        default="both",
        help="search schedule templates (autotvm), generated sketches (autoscheduler), or both (default)",
    )
    group.add_argument(
        "--trials",
        type=int,
        default=512,
        metavar="N",
        help="trials of all tasks together, those in the log included; 0 only reports from the log (512)",
    )
    group.add_argument("--trials-per-task", type=int, metavar="N", help="most trials of one task")
    group.add_argument(
        "--early-stopping", type=int, metavar="N", help="end a task after N trials without a better one"
    )
    group.add_argument(
        "--time-budget",
        type=float,
        metavar="S",
        help="end the search after so many seconds, whatever is left",
    )
    group.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of the search and of random inputs (0)"
    )
    group.add_argument(
        "--warm-start",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="learn from other logs: those of other models in the log folder, and those that come with the project; "
        "a task that another log holds is taken from there (default)",
    )
    group.add_argument(
        "--tasks",
        metavar="list|0,2-5",
        help="list the model's tasks and end, or tune only those of these numbers",
    )


def _add_measurement(group: argparse._ActionsContainer) -> None:
    group.add_argument(
        "--timeout", type=float, default=20.0, metavar="S", help="seconds a build or a run may take (20)"
    )
    group.add_argument(
        "--number", type=int, default=1, metavar="N", help="kernel runs a repeat, at least (1)"
    )
    group.add_argument(
        "--repeat",
        type=int,
        default=30,
        metavar="N",
        help="most repeats of a measurement; it ends when the smallest agree (30)",
    )
    group.add_argument(
        "--min-repeat-ms",
        type=float,
        default=1.0,
        metavar="MS",
        help="least length of a repeat; runs are added (1)",
    )


def _add_evaluation(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("evaluation")
    group.add_argument(
        "--samples", type=int, default=20, metavar="N", help="random inputs to compare outputs on (20)"
    )
    group.add_argument(
        "--input",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="an image (its top 5 are printed) or .npz to compare outputs on too; may be repeated",
    )
    group.add_argument(
        "--dataset",
        type=Path,
        metavar="PATH",
        help=".npz of inputs and labels, or a folder of images with labels.json, .csv or .txt",
    )
    _add_labels(group)
    _add_images(group)
    group.add_argument(
        "--rounds",
        type=int,
        default=60,
        metavar="N",
        help="latency measurements of each build and framework (60)",
    )


def _add_images(group: argparse._ActionsContainer) -> None:
    group.add_argument(
        "--fit",
        choices=("resize", "crop"),
        help="how images get the model's size: stretched, or the centre cut out (default: as the model's record says)",
    )
    for name, what in (("--mean", "subtracted from"), ("--std", "that then divide")):
        group.add_argument(
            name,
            type=_numbers,
            metavar="R,G,B",
            help=f"numbers {what} pixels/255 of images for float inputs (as the model's record says)",
        )


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"takes numbers with commas between them, not {text!r}") from None


def _whole_numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"takes whole numbers with commas between them, as 1,3,224,224, not {text!r}"
        ) from None


def _add_build(parser: argparse.ArgumentParser) -> None:
    _add_model(parser)
    group = parser.add_argument_group("results")
    group.add_argument(
        "--output", "-o", type=Path, required=True, metavar="FILE.so", help="the library to write"
    )
    group.add_argument(
        "--untuned", action="store_true", help="use the default schedules, whatever the log holds"
    )
    group.add_argument(
        "--dump",
        type=Path,
        metavar="DIR",
        help="write the network after each phase of lowering as TVMScript, DIR/grouped.py and DIR/lowered.py",
    )
    _add_images(parser.add_argument_group("images, for the library's record"))


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("library", type=Path, metavar="FILE.so", help="a library that tune or build wrote")
    parser.add_argument(
        "--input", type=Path, metavar="FILE", help="an image, or .npz with inputs; without it random inputs"
    )
    parser.add_argument("--threads", type=int, metavar="N", help="threads (as many as it was built for)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of random inputs (0)")
    _add_labels(parser)
    _add_images(parser)
    parser.add_argument("--output", "-o", type=Path, metavar="FILE.npz", help="write the outputs")
    parser.add_argument(
        "--rounds", type=int, default=0, metavar="N", help="measure the latency, N times (0: not)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what is printed as JSON")


def _add_leaders(parser: argparse.ArgumentParser) -> None:
    _add_log_dir(parser, "where the logs are")
    parser.add_argument(
        "--output", "-o", type=Path, required=True, metavar="DIR", help="the log folder to write into"
    )
    parser.add_argument(
        "--keep",
        type=int,
        default=2,
        metavar="N",
        help="records of each task, the one to build with first (2)",
    )


def _add_doctor(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--target", default="native", metavar="TARGET", help="target to check (native)")
    _add_log_dir(parser, "log folder to check")
