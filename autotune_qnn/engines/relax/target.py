"""Targets: TVM's classic strings, JSON and dictionaries, checked against LLVM and this machine."""

from __future__ import annotations

import ast
import difflib
import functools
import json
import platform
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import tvm
from tvm.target import codegen

from autotune_qnn.errors import TargetError
from autotune_qnn.host import HOST_FLAG_OF_FEATURE, TILE_FLAGS, host_flags, tiles_refused
from autotune_qnn.kernels.isa import DotShape, Isa, dot_shape

_ALWAYS = ("+fast-dpwssd",)
"""For how LLVM orders code, no instructions: without it LLVM takes vpdpwssd apart, for CPUs on which it is slow."""
_OPTIONS = ("device", "keys", "mattr", "mcpu", "model", "mtriple", "num-cores")
_LONGEST = 4096
_WORD = re.compile(r"[A-Za-z0-9_.+-]{1,128}\Z")
_ARCHITECTURES = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}


_VNNI = frozenset({"avx512f", "avx512bw", "avx512vl", "avx512vnni"})
_NAMED = ("haswell", "alderlake", "skylake-avx512", "cascadelake", "sapphirerapids")
"""CPUs by whose names a better target is suggested, the plainest first."""
_TWO_PRODUCTS = frozenset(
    {
        "skylake-avx512",
        "skx",
        "cascadelake",
        "cooperlake",
        "icelake-server",
        "sapphirerapids",
        "emeraldrapids",
        "graniterapids",
        "graniterapids-d",
    }
)
"""CPUs that begin two products of 512 bits in a cycle."""
_TWO_PRODUCTS_MODELS = frozenset({85, 106, 108, 143, 173, 174, 207})
"""The same CPUs by the numbers that Intel gave them, all of family 6."""
_FAMILY_6 = re.compile(r"\(family 6, model (\d+),")

_NEEDED = {
    Isa.AMX_INT8: _VNNI | {"amx-tile", "amx-int8"},
    Isa.AVX512_VNNI: _VNNI,
    Isa.AVX512BW: frozenset({"avx512f", "avx512bw", "avx512vl"}),
    Isa.AVX_VNNI: frozenset({"avx2", "avxvnni"}),
    Isa.AVX2: frozenset({"avx2"}),
    Isa.GENERIC: frozenset[str](),
}


@dataclass(frozen=True, slots=True)
class TargetSpec:
    """A CPU to compile for. Build one with `parse`; equal options make equal canonical strings."""

    mcpu: str = ""
    mattr: tuple[str, ...] = ()
    mtriple: str = ""
    num_cores: int | None = None
    model: str = ""
    keys: tuple[str, ...] = ()
    device: str = ""

    @classmethod
    def parse(cls, text: str) -> TargetSpec:
        """Read "llvm -mcpu=...", a JSON or Python dictionary, or "native" (this machine's CPU).

        Raises TargetError with one line that names the option at fault.
        """
        text = text.strip()
        if len(text) > _LONGEST:
            raise TargetError(f"the target is {len(text)} characters long; at most {_LONGEST} are read")
        if text == "native":
            return _native()
        options = _from_dictionary(text) if text.startswith("{") else _from_words(text)
        spec = cls(**_checked(options, text))
        _check_cpu(spec)
        _check_attributes(spec)
        return spec

    @property
    def canonical(self) -> str:
        """The classic string with options in alphabetical order and attributes sorted, as logs keep it."""
        values = {
            "device": self.device,
            "keys": ",".join(self.keys),
            "mattr": ",".join(self.mattr),
            "mcpu": self.mcpu,
            "model": self.model,
            "mtriple": self.mtriple,
            "num-cores": "" if self.num_cores is None else str(self.num_cores),
        }
        return " ".join(["llvm", *(f"-{name}={values[name]}" for name in _OPTIONS if values[name])])

    def tvm(self) -> Any:
        """The `tvm.target.Target` of this specification."""
        return tvm.target.Target(self.mapping())

    def mapping(self) -> dict[str, Any]:
        """The dictionary form that TVM reads."""
        mapping: dict[str, Any] = {"kind": "llvm"}
        for name in ("mcpu", "mtriple", "model", "device"):
            if getattr(self, name):
                mapping[name] = getattr(self, name)
        if self.mattr or self.architecture == "x86_64":
            mapping["mattr"] = [*self.mattr, *(_ALWAYS if self.architecture == "x86_64" else ())]
        if self.keys:
            mapping["keys"] = list(self.keys)
        if self.num_cores is not None:
            mapping["num-cores"] = self.num_cores
        return mapping

    @property
    def features(self) -> frozenset[str]:
        """LLVM's names of the CPU features that code for this target may use."""
        return _features(self)

    @property
    def isa(self) -> Isa:
        """The most capable instruction set whose features the target has all of."""
        return next(isa for isa in Isa if _NEEDED[isa] <= self.features)

    @property
    def dot(self) -> DotShape:
        """The dot-product step of the instruction set, and how many of them the CPU begins in a cycle."""
        return replace(dot_shape(self.isa), rate=self._rate(self.mcpu in _TWO_PRODUCTS))

    def rate_on(self, cpu: str) -> int:
        """How many of the target's dot-product steps a CPU begins in a cycle, as far as default schedules take account
        of it (`DotShape.rate`). `cpu` is a name that `host.cpu_model` gave.
        """
        found = _FAMILY_6.search(cpu)
        return self._rate(found is not None and int(found[1]) in _TWO_PRODUCTS_MODELS)

    def _rate(self, two_products: bool) -> int:
        return 2 if two_products and self.isa in (Isa.AMX_INT8, Isa.AVX512_VNNI) else 1

    @property
    def architecture(self) -> str:
        """ "x86_64" or "aarch64"."""
        return self.mtriple.split("-")[0] if self.mtriple else _host_architecture()

    @property
    def needed_flags(self) -> tuple[str, ...]:
        """Flags of /proc/cpuinfo without which code for this target may end in an illegal instruction."""
        return tuple(sorted({HOST_FLAG_OF_FEATURE[f] for f in self.features if f in HOST_FLAG_OF_FEATURE}))

    def runs_here(self) -> str | None:
        """Why code for this target cannot run on this machine, or None when it can.

        Only features that LLVM or a kernel of this package emits instructions for are asked after. Where kernels
        may use tiles, Linux is asked to let this process use them.
        """
        if self.architecture != _host_architecture():
            return f"it is {self.architecture} code and this machine is {_host_architecture()}"
        flags = host_flags()
        if not flags:
            return None
        missing = sorted(
            feature
            for feature in self.features
            if feature in HOST_FLAG_OF_FEATURE and HOST_FLAG_OF_FEATURE[feature] not in flags
        )
        if missing:
            return f"this CPU has no {', '.join(missing)}"
        return tiles_refused() if self.isa is Isa.AMX_INT8 else None

    def better(self) -> str | None:
        """What this CPU offers that kernels for this target leave unused, and a target that would use it; None where
        there is nothing.
        """
        flags = host_flags()
        if not flags or self.architecture != _host_architecture():
            return None
        here = {feature for feature, flag in HOST_FLAG_OF_FEATURE.items() if flag in flags}
        if flags >= TILE_FLAGS and tiles_refused() is not None:
            here -= _NEEDED[Isa.AMX_INT8] - _VNNI
        best = next(isa for isa in Isa if _NEEDED[isa] <= here)
        if list(Isa).index(best) >= list(Isa).index(self.isa):
            return None
        unused = ", ".join(sorted(_NEEDED[best] - self.features))
        named = (TargetSpec(mcpu=name) for name in _NAMED)
        name = next((spec.mcpu for spec in named if spec.isa is best and spec.runs_here() is None), "")
        return f"this CPU also has {unused}: {f'-mcpu={name}' if name else '--target native'}"


def _from_words(text: str) -> dict[str, Any]:
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise TargetError(f"target {text!r} cannot be read: {error}") from None
    if not words:
        raise TargetError('the target is empty; say for example "llvm -mcpu=cascadelake" or "native"')
    options: dict[str, Any] = {"kind": words.pop(0)}
    while words:
        word = words.pop(0)
        if not word.startswith("-"):
            raise TargetError(f"target {text!r}: {word!r} is not an option; options are written -mcpu=value")
        name, equals, value = word.lstrip("-").partition("=")
        if not equals and words:
            value = words.pop(0)
        if name in options:
            raise TargetError(f"target {text!r} gives -{name} twice")
        if not value:
            raise TargetError(f"target {text!r}: -{name} has no value")
        options[name] = value
    return options


def _from_dictionary(text: str) -> dict[str, Any]:
    try:
        options = json.loads(text)
    except (ValueError, RecursionError):
        try:
            options = ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            raise TargetError(f"target {text!r} is neither JSON nor a Python dictionary") from None
    if not isinstance(options, dict) or not all(isinstance(name, str) for name in options):
        raise TargetError(f"target {text!r} is not a dictionary of options")
    options.setdefault("kind", "llvm")
    options.pop("tag", None)
    return options


def _checked(options: Mapping[str, Any], text: str) -> dict[str, Any]:
    """The fields of a TargetSpec from options of either form."""
    if options["kind"] != "llvm":
        raise TargetError(f"target kind {options['kind']!r} is not supported; only llvm (CPU) targets are")
    unknown = sorted(set(options) - set(_OPTIONS) - {"kind"})
    if unknown:
        raise TargetError(
            f"target {text!r} has unknown options: {', '.join(unknown)}; known are {', '.join(_OPTIONS)}"
        )
    fields: dict[str, Any] = {name: _word(options, name) for name in ("mcpu", "mtriple", "model", "device")}
    fields["mattr"] = tuple(sorted(set(_words(options, "mattr")) - set(_ALWAYS)))
    fields["keys"] = _words(options, "keys")
    fields["num_cores"] = _count(options, "num-cores")
    return fields


def _word(options: Mapping[str, Any], name: str) -> str:
    value = options.get(name, "")
    if not isinstance(value, str) or (value and not _WORD.match(value)):
        raise TargetError(f"target option {name} cannot be {value!r}")
    return value


def _words(options: Mapping[str, Any], name: str) -> tuple[str, ...]:
    value = options.get(name, ())
    parts = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
    if not isinstance(parts, list | tuple):
        raise TargetError(f"target option {name} cannot be {value!r}")
    for part in parts:
        if not isinstance(part, str) or not _WORD.match(part):
            raise TargetError(f"target option {name} cannot hold {part!r}")
    return tuple(parts)


def _count(options: Mapping[str, Any], name: str) -> int | None:
    value = options.get(name)
    if value is None:
        return None
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 8:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 4096:
        raise TargetError(f"target option {name} has to be a count from 1 to 4096, not {value!r}")
    return value


def _check_cpu(spec: TargetSpec) -> None:
    """Reject triples and CPU names that LLVM does not know: with them it falls back, or crashes, instead."""
    architecture = spec.architecture
    if architecture not in _ARCHITECTURES.values():
        raise TargetError(f"target architecture {architecture!r} is not supported; x86_64 and aarch64 are")
    if not spec.mcpu or spec.mcpu == "generic":
        return
    triple = spec.mtriple or codegen.llvm_get_system_triple()
    if codegen.llvm_is_valid_cpu(spec.mcpu, triple):
        return
    known = sorted(str(name) for name in codegen.llvm_get_cpu_archlist(_bare(spec)))
    close = difflib.get_close_matches(spec.mcpu, known, n=3)
    hint = f"; close to it: {', '.join(close)}" if close else ""
    raise TargetError(f"LLVM knows no {architecture} CPU named {spec.mcpu!r}{hint}")


def _check_attributes(spec: TargetSpec) -> None:
    for attribute in spec.mattr:
        if attribute[0] not in "+-":
            raise TargetError(f"target attribute {attribute!r} has to begin with + or -")
    if not spec.mattr:
        return
    known = _known_features(spec.mtriple)
    unknown = [attribute for attribute in spec.mattr if attribute[1:] not in known]
    if unknown and spec.architecture == "x86_64":
        close = difflib.get_close_matches(unknown[0][1:], sorted(known), n=3)
        hint = f"; close to it: {', '.join(close)}" if close else ""
        raise TargetError(f"LLVM knows no feature {unknown[0]!r}{hint}")


def _bare(spec: TargetSpec) -> Any:
    return tvm.target.Target({"kind": "llvm", **({"mtriple": spec.mtriple} if spec.mtriple else {})})


@functools.lru_cache(maxsize=8)
def _known_features(mtriple: str) -> frozenset[str]:
    """Every feature that some CPU of the triple has, which is all that LLVM's queries reveal."""
    base = TargetSpec(mtriple=mtriple)
    names = [str(name) for name in codegen.llvm_get_cpu_archlist(_bare(base))]
    return frozenset().union(*(_features(TargetSpec(mcpu=name, mtriple=mtriple)) for name in names))


@functools.lru_cache(maxsize=1024)
def _features(spec: TargetSpec) -> frozenset[str]:
    return frozenset(str(name) for name in codegen.llvm_get_cpu_features(spec.tvm()))


@functools.lru_cache(maxsize=1)
def _native() -> TargetSpec:
    """This machine's CPU by LLVM's name, with attributes where the machine and the name differ.

    A hypervisor may hide features that the CPU's name implies, and an unknown name implies too few. Tiles that
    Linux does not let this process use are as good as hidden.
    """
    name = str(codegen.llvm_get_system_cpu())
    spec = TargetSpec(mcpu=name)
    flags = host_flags()
    if not flags or _host_architecture() != "x86_64":
        return spec
    if flags >= TILE_FLAGS and tiles_refused() is not None:
        flags -= TILE_FLAGS
    known = _known_features("")
    here = {feature for feature, flag in HOST_FLAG_OF_FEATURE.items() if flag in flags and feature in known}
    named = {feature for feature in spec.features if feature in HOST_FLAG_OF_FEATURE}
    attributes = [f"+{feature}" for feature in here - named] + [f"-{feature}" for feature in named - here]
    return TargetSpec(mcpu=name, mattr=tuple(sorted(attributes)))


def _host_architecture() -> str:
    machine = platform.machine().lower()
    return _ARCHITECTURES.get(machine, machine)
