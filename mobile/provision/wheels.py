"""Wheels for a device, chosen and fetched on the host, unpacked into a layer without what the agent never loads."""

from __future__ import annotations

import importlib.util
import re
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from mobile.deadline import Deadline
from mobile.errors import SetupError
from mobile.provision import elf
from mobile.provision.cache import ToolFailed, cache_folder, tool
from mobile.provision.tags import Target, fits, wheel

# Runtime -> what can carry it, in the order of preference: distributions to ask for, and what else must hold.
# tflite-runtime 2.14 says numpy>=1.23, and fails with numpy 2 when a model is loaded.
CARRIERS: dict[str, tuple[tuple[str, ...], ...]] = {
    "onnxruntime": (("onnxruntime",),),
    "litert": (("ai-edge-litert",), ("tflite-runtime", "numpy<2")),
}
# Distributions of vendors that carry a runtime under another name.
PROVIDES = {
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino", "onnxruntime-qnn"),
    "litert": ("ai-edge-litert", "tflite-runtime"),
}
# What the runtimes import, all that the agent uses. The rest of what they declare serves their tools.
_KEPT = {"numpy", *(name for names in PROVIDES.values() for name in names)}
_DROPPED = re.compile(
    r"(^|/)(tests?|__pycache__)/|\.(pyi|h|a|lib|pxd|c)$"
    r"|^numpy/(f2py|distutils|doc)/|\.dist-info/RECORD$"
    r"|^onnxruntime/(tools|transformers|quantization|datasets|backend)/"
    # An accelerator of the compiled-model API, which the agent does not use.
    r"|^ai_edge_litert/libLiteRtWebGpuAccelerator\.so$|^ai_edge_litert/(tools|internal)/"
)
_UNPACKED_LIMIT_BYTES = 4 << 30


@dataclass(frozen=True)
class Request:
    """What is wanted for a target. ``present`` are packages that the device has and keeps: name -> version."""

    runtimes: tuple[str, ...]
    target: Target
    present: tuple[tuple[str, str], ...] = ()
    folder: Path | None = None  # vendor wheels

    def key(self) -> dict[str, object]:
        """All that decides the result, but for what the registry has by then."""
        wheels = [] if self.folder is None else sorted(self.folder.glob("*.whl"))
        return {
            "recipe": 2,
            "runtimes": self.runtimes,
            "python": self.target.python,
            "platforms": self.target.platforms,
            "present": self.present,
            "vendor": [f"{path.name} {path.stat().st_size}" for path in wheels],
        }


def build(request: Request, tree: Path, deadline: Deadline) -> dict[str, str]:
    """The packages (name -> version) whose files are now in ``tree``. SetupError when nothing fits the device."""
    downloads = cache_folder() / "wheels"
    downloads.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=downloads, prefix=".resolve-") as made:
        folder = Path(made)
        _resolve(request, folder, deadline)
        present = {name for name, _ in request.present}
        contents = {}
        for path in sorted(folder.glob("*.whl")):
            found = wheel(path.name)
            if found is None or found.distribution not in _KEPT or found.distribution in present:
                continue
            unpack(path, tree)
            contents[found.distribution] = found.version
    drop_unneeded_libraries(tree)
    return contents


def _resolve(request: Request, folder: Path, deadline: Deadline) -> None:
    """Fills the folder with the wheels of all runtimes, resolved together, so that there is one numpy."""
    wanted = [_carriers(request, runtime) for runtime in request.runtimes]
    first = [words for carriers in wanted for words in carriers[0]]
    try:
        download(request, first, folder, deadline)
        return
    except ToolFailed as error:
        if all(len(carriers) == 1 for carriers in wanted):
            raise _nothing_fits(request, error) from error
    last = [words for carriers in wanted for words in carriers[-1]]
    try:
        download(request, last, folder, deadline)
    except ToolFailed as error:
        raise _nothing_fits(request, error) from error


def _carriers(request: Request, runtime: str) -> tuple[tuple[str, ...], ...]:
    """The vendor's wheel of the runtime when it fits, else what the registry may have."""
    if request.folder is not None:
        python = tuple(map(int, request.target.python.split(".")))
        platforms = [*request.target.platforms, f"linux_{request.target.machine}"]
        for path in sorted(request.folder.glob("*.whl"), reverse=True):
            found = wheel(path.name)
            carries = found is not None and found.distribution in PROVIDES[runtime]
            if found is not None and carries and fits(found, (python[0], python[1]), platforms):
                return ((str(path.absolute()),),)
    return CARRIERS[runtime]


def download(request: Request, wanted: Sequence[str], folder: Path, deadline: Deadline) -> None:
    """Nothing, once pip has put the wheels of ``wanted`` and what they need into the folder. ToolFailed."""
    target = request.target
    arguments = ["download", "--disable-pip-version-check", "--no-input", "--quiet", "--dest", str(folder)]
    arguments += ["--only-binary=:all:", "--implementation", "cp", "--python-version", target.python]
    platforms = [*target.platforms]
    if request.folder is not None:
        arguments += ["--find-links", str(request.folder.absolute())]
        platforms.append(f"linux_{target.machine}")  # no registry takes this tag, vendors use it
    for platform in platforms:
        arguments += ["--platform", platform]
    constraints = folder / "constraints.txt"
    constraints.write_text("".join(f"{name}=={version}\n" for name, version in request.present))
    constrained = [*arguments, "--constraint", str(constraints), *wanted]
    try:
        _pip_download(request, constrained, deadline)
    except ToolFailed:
        if not request.present:
            raise
        # The device's numpy may be in no registry. It is there, so what needs it can be fetched alone.
        _pip_download(request, [*arguments, "--no-deps", *wanted], deadline)


def _pip_download(request: Request, arguments: Sequence[str], deadline: Deadline) -> None:
    if request.folder is not None:
        try:
            tool([*pip(), *arguments, "--no-index"], deadline)
            return
        except ToolFailed:
            pass  # not all of it is there: the registry has the rest
    tool([*pip(), *arguments], deadline)


def pip() -> list[str]:
    """The command of pip on this host: this Python's, else the one on the PATH."""
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    for name in ("pip3", "pip"):
        found = shutil.which(name)
        if found:
            return [found]
    raise SetupError("choosing wheels for the device needs pip on this host", hint=f"{sys.executable} -m ensurepip")


def _nothing_fits(request: Request, error: ToolFailed) -> SetupError:
    target = request.target
    if re.search(r"No matching distribution|Could not find a version|ResolutionImpossible", error.output):
        return SetupError(
            f"no registry has {' and '.join(request.runtimes)} for Python {target.python} on {target.machine}"
            f" ({target.platforms[0] if target.platforms else 'no glibc'})",
            hint="give the vendor's wheels with --wheels DIR, or another Python with `python:` in devices.yaml",
        )
    return SetupError(
        f"the wheels for the device cannot be fetched: {error.message}",
        hint="this step needs the package registry once; what is in the cache needs it no more; or give --wheels DIR",
    )


def unpack(path: Path, tree: Path) -> None:
    """Nothing; the files that the agent may load are in ``tree`` (PEP 427: purelib and platlib are its root)."""
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(info.file_size for info in archive.infolist()) > _UNPACKED_LIMIT_BYTES:
                raise SetupError(f"{path.name}: over {_UNPACKED_LIMIT_BYTES} bytes unpacked")
            for info in archive.infolist():
                name = _place(info.filename, path)
                if name is None or _DROPPED.search(name):
                    continue
                target = tree / name
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(info) as source, target.open("wb") as copy:
                    shutil.copyfileobj(source, copy)
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        raise SetupError(f"{path.name}: not a wheel that can be read ({error})") from error


def _place(name: str, path: Path) -> str | None:
    if name.endswith("/"):
        return None
    parts = PurePosixPath(name).parts
    if ".." in parts or name.startswith("/"):
        raise SetupError(f"{path.name}: {name!r} leads out of the wheel")
    if parts[0].endswith(".data"):
        return "/".join(parts[2:]) if parts[1] in ("purelib", "platlib") and len(parts) > 2 else None
    return name


def drop_unneeded_libraries(tree: Path) -> None:
    """Nothing; onnxruntime's C library, which its wheels ship beside the module that has it inside, is gone.

    27 of 55 MB in 1.32. It stays where a library there needs it by name.
    """
    folder = tree / "onnxruntime" / "capi"
    whole = [path for path in folder.glob("libonnxruntime.so*") if elf.is_elf(path)]
    others = [path for path in folder.glob("*.so*") if path not in whole and elf.is_elf(path)]
    wanted = {name for path in others for name in elf.needed(path)}
    for path in whole:
        if not {path.name, elf.soname(path)} & wanted:
            path.unlink()


def versions(contents: Mapping[str, str]) -> str:
    """ "numpy 2.4.6, onnxruntime 1.32.0" """
    return ", ".join(f"{name} {version}" for name, version in sorted(contents.items()))
