"""One engine running one network: what the processes of a comparison are told, and where its files are kept."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.lib.networks import Network, network

_PATHS = ("cache", "shared", "log_dir")


@dataclass(frozen=True, slots=True)
class Job:
    """`engine` runs `model` at a batch size on a number of threads.

    `cache` is the folder of everything prepared, `shared` the one that holds the TFLite files (models/tflite).
    `target`, `log_dir` and `trials` (0: tune nothing) concern this package only.
    """

    engine: str
    model: str
    batch: int
    threads: int
    cache: Path
    shared: Path
    target: str
    log_dir: Path
    trials: int = 0

    @property
    def network(self) -> Network:
        """The network that `model` names."""
        return network(self.model)

    def folder(self, name: str, ingredients: list[str]) -> Path:
        """Where files made from these ingredients are kept: others go to another folder."""
        digest = hashlib.sha256("\n".join(ingredients).encode()).hexdigest()[:12]
        return self.cache / f"{self.model}-b{self.batch}" / f"{name}-{digest}"

    def to_json(self) -> str:
        """For a command line."""
        return json.dumps({**dataclasses.asdict(self), **{name: str(getattr(self, name)) for name in _PATHS}})

    @classmethod
    def from_json(cls, text: str) -> Job:
        """What `to_json` gave."""
        fields: dict[str, Any] = json.loads(text)
        for name in _PATHS:
            fields[name] = Path(fields[name])
        return cls(**fields)
