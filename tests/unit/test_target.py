from __future__ import annotations

import pytest

from autotune_qnn import host
from autotune_qnn.engines.relax import target
from autotune_qnn.engines.relax.target import Isa, TargetSpec
from autotune_qnn.errors import TargetError

CASES = [
    ("llvm -mcpu=cascadelake", "llvm -mcpu=cascadelake", Isa.AVX512_VNNI),
    ("llvm -mcpu skylake-avx512", "llvm -mcpu=skylake-avx512", Isa.AVX512BW),
    ("llvm -num-cores=4 -mcpu=alderlake", "llvm -mcpu=alderlake -num-cores=4", Isa.AVX_VNNI),
    ("{'mcpu': 'core-avx2'}", "llvm -mcpu=core-avx2", Isa.AVX2),
    ("llvm -mcpu=sapphirerapids", "llvm -mcpu=sapphirerapids", Isa.AMX_INT8),
    ("llvm -mcpu=graniterapids", "llvm -mcpu=graniterapids", Isa.AMX_INT8),
    (
        "llvm -mcpu=cascadelake -mattr=+amx-tile,+amx-int8",
        "llvm -mattr=+amx-int8,+amx-tile -mcpu=cascadelake",
        Isa.AMX_INT8,
    ),
    (
        "llvm -mcpu=emeraldrapids -mattr=-amx-int8",
        "llvm -mattr=-amx-int8 -mcpu=emeraldrapids",
        Isa.AVX512_VNNI,
    ),
    ("llvm", "llvm", Isa.GENERIC),
    ("llvm -mcpu=x86-64", "llvm -mcpu=x86-64", Isa.GENERIC),
    (
        '{"kind": "llvm", "mcpu": "skylake-avx512", "mattr": ["+avx512vnni"], "tag": ""}',
        "llvm -mattr=+avx512vnni -mcpu=skylake-avx512",
        Isa.AVX512_VNNI,
    ),
    ("llvm -mcpu=cascadelake -mattr=-avx512vnni", "llvm -mattr=-avx512vnni -mcpu=cascadelake", Isa.AVX512BW),
    (
        "llvm -keys=cpu -device=arm_cpu -model=board -mtriple=aarch64-linux-gnu -mattr=+v8.2a,+dotprod",
        "llvm -device=arm_cpu -keys=cpu -mattr=+dotprod,+v8.2a -model=board -mtriple=aarch64-linux-gnu",
        Isa.GENERIC,
    ),
]


@pytest.mark.parametrize(("text", "canonical", "isa"), CASES)
def test_forms_agree_on_one_canonical_string(text: str, canonical: str, isa: Isa) -> None:
    spec = TargetSpec.parse(text)
    assert spec.canonical == canonical
    assert spec.isa is isa
    assert TargetSpec.parse(canonical) == spec
    assert TargetSpec.parse(str(spec.mapping())) == spec
    assert str(spec.tvm().kind) == "llvm"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("cuda", "kind 'cuda'"),
        ("llvm -mcpu=cascadelakes", "close to it: cascadelake"),
        ("llvm -mcpu=nonsense", "no x86_64 CPU named 'nonsense'"),
        ("llvm -mtriple=bogus", "architecture 'bogus'"),
        ("llvm -mtriple=x86_64-linux-gnu -mcpu=cortex-a72", "no x86_64 CPU named 'cortex-a72'"),
        ("llvm -mcpu=cascadelake -mattr=+avx512vnn", "no feature '+avx512vnn'"),
        ("llvm -mcpu=cascadelake -mattr=avx2", "begin with + or -"),
        ("llvm -mcpu=a -mcpu=b", "twice"),
        ("llvm -mcpu", "no value"),
        ("llvm -mcpu=", "no value"),
        ("llvm -libs=mkl", "unknown options: libs"),
        ("llvm -num-cores=none", "num-cores"),
        ("llvm -num-cores=0", "num-cores"),
        ("llvm stray", "'stray' is not an option"),
        ("llvm 'open", "cannot be read"),
        ("{'mcpu': 3}", "mcpu cannot be 3"),
        ("{'mattr': [3]}", "mattr cannot hold 3"),
        ("{not a dictionary", "neither JSON nor"),
        ('{"mcpu":' + "[" * 4000, "neither JSON nor"),
        ("llvm " + "x" * 5000, "characters long"),
    ],
)
def test_bad_targets_are_refused_in_one_line(text: str, said: str) -> None:
    with pytest.raises(TargetError) as error:
        TargetSpec.parse(text)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_native_runs_here_and_is_stable() -> None:
    spec = TargetSpec.parse("native")
    assert spec.runs_here() is None
    assert TargetSpec.parse(spec.canonical) == spec


def test_what_the_cpu_lacks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    avx2 = host.parse_flags(
        "processor: 0\nflags\t\t: fpu pni ssse3 sse4_1 sse4_2 popcnt movbe abm bmi1 bmi2 f16c fma avx avx2\n"
    )
    monkeypatch.setattr(target, "host_flags", lambda: avx2)
    assert TargetSpec.parse("llvm -mcpu=haswell").runs_here() is None
    reason = TargetSpec.parse("llvm -mcpu=cascadelake").runs_here()
    assert reason is not None
    assert "avx512vnni" in reason
    assert "pku" not in reason, "features that no generated code uses do not matter"


def flags_of(name: str) -> frozenset[str]:
    features = TargetSpec(mcpu=name).features
    return frozenset(host.HOST_FLAG_OF_FEATURE[f] for f in features if f in host.HOST_FLAG_OF_FEATURE)


def native_anew() -> TargetSpec:
    """The native target of a pretended CPU, of which nothing is left behind."""
    target._native.cache_clear()
    try:
        return TargetSpec.parse("native")
    finally:
        target._native.cache_clear()


def test_native_follows_what_a_hypervisor_hides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(target, "host_flags", lambda: flags_of("cascadelake") - {"avx512_vnni"})
    monkeypatch.setattr(target.codegen, "llvm_get_system_cpu", lambda: "cascadelake")
    spec = native_anew()
    assert spec.mattr == ("-avx512vnni",)
    assert spec.isa is Isa.AVX512BW
    assert spec.runs_here() is None


@pytest.mark.parametrize("granted", [True, False])
def test_tiles_are_used_where_linux_grants_them(monkeypatch: pytest.MonkeyPatch, granted: bool) -> None:
    named = TargetSpec(mcpu="sapphirerapids")
    monkeypatch.setattr(target, "host_flags", lambda: flags_of("sapphirerapids"))
    monkeypatch.setattr(target, "tiles_refused", lambda: None if granted else "Linux does not")
    monkeypatch.setattr(target.codegen, "llvm_get_system_cpu", lambda: "sapphirerapids")
    spec = native_anew()
    assert spec.isa is (Isa.AMX_INT8 if granted else Isa.AVX512_VNNI)
    assert spec.mattr == (() if granted else ("-amx-int8", "-amx-tile"))
    assert spec.runs_here() is None
    assert named.runs_here() == (None if granted else "Linux does not")


def test_linux_is_asked_for_tiles_only_where_the_cpu_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "host_flags", frozenset)
    monkeypatch.setattr(host, "_tile_permission", lambda: "asked")
    assert host.tiles_refused() == "this CPU has no amx_int8, amx_tile"
    monkeypatch.setattr(host, "host_flags", lambda: host.TILE_FLAGS)
    assert host.tiles_refused() == "asked"


def test_linux_answers_as_it_does_on_this_machine() -> None:
    """Asking is harmless on any CPU, and where the answer is no it says why."""
    reason = host._tile_permission()
    assert reason is None or "tiles" in reason
    assert reason is None or not host.host_flags() >= host.TILE_FLAGS or "arch_prctl" in reason


def test_other_architectures_do_not_run_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(target.platform, "machine", lambda: "x86_64")
    reason = TargetSpec.parse("llvm -mtriple=aarch64-linux-gnu -mcpu=cortex-a72").runs_here()
    assert reason is not None
    assert "aarch64" in reason


def test_unreadable_cpuinfo_has_no_flags() -> None:
    assert host.parse_flags("") == frozenset()


def test_cpu_model_tells_cpus_of_one_name_apart() -> None:
    lines = [
        "processor: 0",
        "model name: AMD EPYC",
        "cpu family: 25",
        "model: 17",
        "stepping: 1",
        "",
        "processor: 1",
    ]
    assert host.parse_model("\n".join(lines)) == "AMD EPYC (family 25, model 17, stepping 1)"
    assert host.parse_model("") == "unknown"
    assert host.cpu_model()


@pytest.mark.parametrize(
    ("cpu", "text", "said"),
    [
        ("cascadelake", "llvm -mcpu=skylake-avx512", "this CPU also has avx512vnni: -mcpu=cascadelake"),
        (
            "cascadelake",
            "llvm -mcpu=cascadelake -mattr=-avx512vnni",
            "also has avx512vnni: -mcpu=cascadelake",
        ),
        ("skylake-avx512", "llvm -mcpu=haswell", "avx512bw, avx512f, avx512vl: -mcpu=skylake-avx512"),
        ("alderlake", "llvm", "avx2, avxvnni: -mcpu=alderlake"),
        ("cascadelake", "llvm -mcpu=cascadelake", None),
        ("haswell", "llvm -mcpu=cascadelake", None),
        ("cascadelake", "llvm -mtriple=aarch64-linux-gnu -mcpu=cortex-a72", None),
    ],
)
def test_what_a_better_target_would_use_is_said(
    monkeypatch: pytest.MonkeyPatch, cpu: str, text: str, said: str | None
) -> None:
    monkeypatch.setattr(target.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(target, "host_flags", lambda: flags_of(cpu))
    better = TargetSpec.parse(text).better()
    assert better is None if said is None else better is not None and said in better


def test_a_cpu_without_a_well_known_name_is_native(monkeypatch: pytest.MonkeyPatch) -> None:
    few = flags_of("cascadelake") - {"abm", "bmi1", "bmi2"}
    monkeypatch.setattr(target.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(target, "host_flags", lambda: few)
    assert TargetSpec.parse("llvm").better() is not None
    assert str(TargetSpec.parse("llvm").better()).endswith(": --target native")


def test_cores_are_written_as_ranges() -> None:
    assert host.core_list(frozenset({0, 1, 2, 5, 7, 8})) == "0-2,5,7-8"
    assert host.core_list(frozenset()) == ""


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("llvm -mcpu=cascadelake", 2),
        ("llvm -mcpu=sapphirerapids", 2),
        ("llvm -mcpu=sapphirerapids -mattr=-amx-int8", 2),
        ("llvm -mcpu=skylake-avx512 -mattr=+avx512vnni", 2),
        ("llvm -mcpu=skylake-avx512", 1),
        ("llvm -mcpu=znver4", 1),
        ("llvm -mcpu=alderlake", 1),
        ("llvm", 1),
    ],
)
def test_products_a_cycle(text: str, rate: int) -> None:
    assert TargetSpec.parse(text).dot.rate == rate


@pytest.mark.parametrize(
    ("cpu", "rate"),
    [
        ("Intel(R) Xeon(R) Processor @ 2.50GHz (family 6, model 85, stepping 7)", 2),
        ("INTEL(R) XEON(R) PLATINUM 8581C (family 6, model 207, stepping 2)", 2),
        ("11th Gen Intel(R) Core(TM) i7-1165G7 (family 6, model 140, stepping 1)", 1),
        ("AMD EPYC (family 25, model 17, stepping 1)", 1),
        ("A CPU (family 25, model 85, stepping 1)", 1),
        ("unknown", 1),
    ],
)
def test_products_a_cycle_on_a_cpu(cpu: str, rate: int) -> None:
    assert TargetSpec.parse("llvm -mcpu=cascadelake").rate_on(cpu) == rate
    assert TargetSpec.parse("llvm -mcpu=skylake-avx512").rate_on(cpu) == 1, (
        "default schedules take no account"
    )
