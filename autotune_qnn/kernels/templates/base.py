"""Knobs, configurations and the protocol of a schedule template.

A template is one expert-written way to schedule one kind of kernel. What it leaves open are its knobs, each a
name with a finite tuple of integers. A configuration gives every knob a value; a space is the set of those
configurations that satisfy the template's constraint.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

_SAMPLE_ATTEMPTS = 2000
_ENUMERATION_LIMIT = 1 << 16
_CHANGED = 0.3
"""The share of knobs that a mutation draws anew."""


class ScheduleRejected(Exception):  # noqa: N818 - it names an event of the search, not an error
    """A template cannot apply a configuration to this workload; the tuner skips it. Not a user's error."""


@dataclass(frozen=True, slots=True)
class Knob:
    """One open choice of a template: a name and its admissible integer values, most conservative first."""

    name: str
    values: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.values:
            raise ValueError(f"knob {self.name!r} has no value")
        if len(set(self.values)) != len(self.values):
            raise ValueError(f"knob {self.name!r} repeats a value: {self.values}")


@dataclass(frozen=True, slots=True)
class Config:
    """A value for every knob, as (name, value) pairs in the order of the space's knobs. Hashable."""

    values: tuple[tuple[str, int], ...]

    @classmethod
    def of(cls, **values: int) -> Config:
        """Build a configuration from keyword arguments, in the order given."""
        return cls(tuple(values.items()))

    @classmethod
    def from_mapping(cls, values: Mapping[str, int]) -> Config:
        """Build a configuration from a mapping, in the mapping's order."""
        return cls(tuple((str(name), int(value)) for name, value in values.items()))

    def __getitem__(self, name: str) -> int:
        for key, value in self.values:
            if key == name:
                return value
        raise KeyError(name)

    def as_dict(self) -> dict[str, int]:
        """The configuration as a plain dictionary, as logs keep it."""
        return dict(self.values)

    def replace(self, **changes: int) -> Config:
        """A copy in which the named knobs have other values."""
        unknown = set(changes) - {name for name, _ in self.values}
        if unknown:
            raise KeyError(f"unknown knobs {sorted(unknown)}")
        return Config(tuple((name, changes.get(name, value)) for name, value in self.values))


def _always(_: Mapping[str, int]) -> bool:
    return True


@dataclass(frozen=True)
class ConfigSpace:
    """All configurations of some knobs that satisfy a constraint.

    `constraint` receives the values by knob name and says whether a template could apply them; it should be
    cheap, since sampling rejects by it. `len(space)` is the number of combinations before the constraint.
    """

    knobs: tuple[Knob, ...]
    constraint: Callable[[Mapping[str, int]], bool] = _always

    def __post_init__(self) -> None:
        names = [knob.name for knob in self.knobs]
        if len(set(names)) != len(names):
            raise ValueError(f"knob names repeat: {names}")

    def __len__(self) -> int:
        return math.prod(len(knob.values) for knob in self.knobs)

    def is_valid(self, config: Config) -> bool:
        """Whether the configuration names exactly these knobs, with admissible values that fit together."""
        if tuple(name for name, _ in config.values) != tuple(knob.name for knob in self.knobs):
            return False
        pairs = zip(config.values, self.knobs, strict=True)
        return all(value in knob.values for (_, value), knob in pairs) and self.constraint(config.as_dict())

    def sample(self, rng: random.Random) -> Config:
        """A random valid configuration; ScheduleRejected when many attempts find none."""
        for _ in range(_SAMPLE_ATTEMPTS):
            config = Config(tuple((knob.name, rng.choice(knob.values)) for knob in self.knobs))
            if self.constraint(config.as_dict()):
                return config
        if len(self) <= _ENUMERATION_LIMIT:
            valid = list(self.enumerate())
            if valid:
                return rng.choice(valid)
        raise ScheduleRejected(
            f"no valid configuration among {len(self)} of {[knob.name for knob in self.knobs]}"
        )

    def neighbours(self, config: Config) -> list[Config]:
        """Every valid configuration that differs from `config` in one knob, by one place in its values."""
        found = []
        for place, knob in enumerate(self.knobs):
            index = knob.values.index(config.values[place][1])
            for other in (index - 1, index + 1):
                if 0 <= other < len(knob.values):
                    changed = config.replace(**{knob.name: knob.values[other]})
                    if self.constraint(changed.as_dict()):
                        found.append(changed)
        return found

    def mutate(self, config: Config, rng: random.Random) -> Config:
        """A valid configuration with some knobs drawn anew (at least one tried); `config` itself if none is
        valid.
        """
        for _ in range(32):
            forced = rng.randrange(len(self.knobs)) if self.knobs else -1
            values = tuple(
                (name, rng.choice(knob.values) if place == forced or rng.random() < _CHANGED else value)
                for place, ((name, value), knob) in enumerate(zip(config.values, self.knobs, strict=True))
            )
            changed = Config(values)
            if changed != config and self.constraint(changed.as_dict()):
                return changed
        return config

    def crossover(self, first: Config, second: Config, rng: random.Random) -> Config:
        """A valid configuration whose every knob comes from one of two parents; `first` if none is valid."""
        for _ in range(16):
            pairs = zip(first.values, second.values, strict=True)
            child = Config(tuple(a if rng.random() < 0.5 else b for a, b in pairs))
            if self.constraint(child.as_dict()):
                return child
        return first

    def enumerate(self) -> Iterator[Config]:
        """Every valid configuration, in the knobs' order. Only sensible for small spaces (see `len`)."""
        names = [knob.name for knob in self.knobs]
        for values in itertools.product(*(knob.values for knob in self.knobs)):
            config = Config(tuple(zip(names, values, strict=True)))
            if self.constraint(config.as_dict()):
                yield config


@runtime_checkable
class ScheduleTemplate(Protocol):
    """An expert-written schedule with knobs for one workload."""

    @property
    def name(self) -> str:
        """A short name, stable across versions."""

    def space(self) -> ConfigSpace:
        """The knobs of this workload."""

    def default(self) -> Config:
        """A sensible configuration without any measurement; it is always measured first."""

    def apply(self, sch: Any, config: Config) -> None:
        """Schedule `sch` (a tvm.s_tir.Schedule of the workload) in place.

        Raises ScheduleRejected when the configuration does not fit the workload. The schedule must be traced
        (built only of schedule primitives), so that its trace replays elsewhere.
        """


TemplateFactory = Callable[[int], ScheduleTemplate]
"""From the number of threads that a kernel may use to its template."""
