"""What a device lacks, and what it is to be given: decided from what it said, without touching it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mobile.errors import SetupError
from mobile.provision import debian
from mobile.provision.probe import DeviceProbe, PythonFound
from mobile.provision.tags import platform_tags

RUNTIMES = ("onnxruntime", "litert")
MODULES = {"onnxruntime": ("onnxruntime",), "litert": ("ai_edge_litert.interpreter", "tflite_runtime.interpreter")}

# Peak resident memory of the agent: its supervisor, and a worker that has imported the runtime and loaded no model.
# Measured on x86_64 with CPython 3.11: onnxruntime 1.32 46 MB, LiteRT 2.3 37 MB; a bare interpreter 12 MB, twice.
_AGENT_BYTES = 24_000_000
_RUNTIME_BYTES = {"onnxruntime": 48_000_000, "litert": 38_000_000}


@dataclass(frozen=True)
class Installed:
    """What an interpreter of the device can import: module -> version, module -> why not, providers of onnxruntime."""

    versions: Mapping[str, str] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)
    providers: tuple[str, ...] = ()

    def has(self, runtime: str) -> bool:
        """Whether the runtime, with its numpy, loads."""
        return "numpy" in self.versions and any(module in self.versions for module in MODULES[runtime])

    @property
    def accelerated(self) -> bool:
        """Whether onnxruntime offers more than the CPU."""
        return any(name in self.providers for name in ("TensorrtExecutionProvider", "CUDAExecutionProvider"))


@dataclass(frozen=True)
class Plan:
    """What will be done. ``runtimes`` are those to bring, ``present`` the packages that stay as they are there."""

    kind: str  # "installed": nothing is brought; "wheels": for the device's Python; "bundle": with a Python
    reason: str
    python: PythonFound | None = None
    runtimes: tuple[str, ...] = ()
    present: tuple[tuple[str, str], ...] = ()
    libraries: bool = False
    notes: tuple[str, ...] = ()


def decide(probe: DeviceProbe, installed: Installed, wanted: Sequence[str], *, vendor_wheels: bool = False) -> Plan:
    """The plan for a device. SetupError where nothing can be done, with the reason."""
    python = probe.python
    if python is None:
        return Plan("bundle", _no_python(probe), runtimes=tuple(wanted))
    lacking = tuple(runtime for runtime in wanted if not installed.has(runtime) or vendor_wheels)
    if not lacking:
        return Plan("installed", f"Python {python.text} there has them", python, notes=_providers(installed))
    machine_tags = platform_tags(probe.machine, probe.glibc)
    if not machine_tags:
        why = "its C library is musl" if probe.musl else f"no glibc was found for {probe.machine}"
        return Plan("bundle", f"no registry has wheels for it: {why}", runtimes=tuple(wanted))
    libraries = probe.libstdcxx is None
    if libraries and probe.glibc is not None and probe.glibc < debian.GLIBC:
        have = ".".join(map(str, probe.glibc))
        return Plan("bundle", f"it has no libstdc++, and glibc {have} is too old for ours", runtimes=tuple(wanted))
    return Plan(
        "wheels",
        f"Python {python.text} there lacks {' and '.join(lacking)}",
        python,
        lacking,
        _kept(installed, lacking, vendor_wheels),
        libraries,
        _notes(probe, installed, lacking, vendor_wheels),
    )


def _no_python(probe: DeviceProbe) -> str:
    if not probe.pythons:
        return "it has no Python"
    found = ", ".join(f"{python.path} {python.text}" for python in probe.pythons)
    return f"it has no Python from 3.8 up that can be used ({found})"


def _kept(installed: Installed, lacking: Sequence[str], vendor_wheels: bool) -> tuple[tuple[str, str], ...]:
    """numpy stays the device's own where a runtime there works with it: another would be put before it."""
    keeps = [runtime for runtime in RUNTIMES if runtime not in lacking and installed.has(runtime)]
    if "numpy" in installed.versions and (keeps or vendor_wheels):
        return (("numpy", installed.versions["numpy"]),)
    return ()


def _providers(installed: Installed) -> tuple[str, ...]:
    return (f"onnxruntime there offers {', '.join(installed.providers)}",) if installed.providers else ()


def _notes(probe: DeviceProbe, installed: Installed, lacking: Sequence[str], vendor_wheels: bool) -> tuple[str, ...]:
    notes = []
    for module, error in installed.errors.items():
        notes.append(f"{module} is installed there and does not load: {explain(error)}")
    if probe.jetson is not None and "onnxruntime" in lacking and not vendor_wheels:
        notes.append("this is onnxruntime for the CPU; for CUDA and TensorRT give NVIDIA's wheel with --wheels DIR")
    return tuple(notes)


def explain(error: str) -> str:
    """An import error in one line, with what it means where that is known.

    >>> explain("ImportError: numpy says\\n\\na lot\\nOriginal error was: libz.so.1: no such file")
    'ImportError: numpy says; Original error was: libz.so.1: no such file'
    """
    lines = [line.strip() for line in error.splitlines() if line.strip()] or ["no message"]
    for words, meaning in _MEANINGS:
        told = next((line for line in lines if words in line), None)
        if told is not None:
            return f"{told[:200]} ({meaning})"
    first, last = lines[0][:200], lines[-1][:200]
    return first if len(lines) == 1 else f"{first}; {last}"


_MEANINGS = (
    ("libstdc++.so.6: cannot open", "the device lacks the C++ library: `edgewise setup` takes it along"),
    ("GLIBCXX_", "the device's libstdc++ is too old for this wheel"),
    ("GLIBC_", "the device's C library is too old for this wheel"),
    ("failed to map segment", "the folder is mounted noexec"),
    ("numpy.core.multiarray failed to import", "built for another numpy: numpy<2 may be needed"),
    ("_ARRAY_API not found", "built for another numpy: numpy<2 is needed"),
    ("SIGILL", "an instruction this processor lacks: OPENBLAS_CORETYPE=ARMV8 in `env` helps numpy on a Jetson Nano"),
    ("SIGSEGV", "it crashed while it was loaded"),
)


def check_fit(
    device: str,
    probe: DeviceProbe,
    runtimes: Sequence[str],
    needed_bytes: int,
    *,
    disk_limit_bytes: int | None = None,
    memory_limit_bytes: int | None = None,
) -> list[str]:
    """Warnings; SetupError when the device's disk or memory cannot take it."""
    if probe.write_error is not None and needed_bytes:
        raise SetupError(
            f"{device}: the working folder cannot be written to: {probe.write_error}",
            hint="set `workdir` in devices.yaml to a folder that the user there may write to",
        )
    if probe.exec_error is not None and needed_bytes:
        raise SetupError(
            f"{device}: programs in the working folder may not be executed: {probe.exec_error}",
            hint="its file system is mounted noexec: set `workdir` to a folder on another one",
        )
    free = [size for size in (probe.free_bytes, disk_limit_bytes) if size is not None]
    if free and needed_bytes > min(free):
        raise SetupError(
            f"{device}: the runtime needs {megabytes(needed_bytes)} on the disk, {megabytes(min(free))} are free",
            hint=f"free some, or `edgewise store {device} prune`; --runtime onnxruntime needs less than all",
        )
    return _check_memory(device, probe, runtimes, memory_limit_bytes)


def _check_memory(device: str, probe: DeviceProbe, runtimes: Sequence[str], limit_bytes: int | None) -> list[str]:
    wanted = _AGENT_BYTES + max((_RUNTIME_BYTES[runtime] for runtime in runtimes), default=0)
    have = [size for size in (probe.memory_bytes, limit_bytes) if size is not None]
    if have and wanted > min(have):
        raise SetupError(
            f"{device}: the agent and a runtime need {megabytes(wanted)} of memory before a model is loaded;"
            f" it has {megabytes(min(have))}"
        )
    if probe.memory_available_bytes is not None and wanted > probe.memory_available_bytes:
        free = megabytes(probe.memory_available_bytes)
        return [f"only {free} of memory are free, the agent and a runtime need {megabytes(wanted)}"]
    return []


def megabytes(size_bytes: int) -> str:
    """ "47.3 MB" """
    return f"{size_bytes / 1e6:.1f} MB"
