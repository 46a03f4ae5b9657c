"""Root images of the devices: built once, kept in the cache, never changed afterwards."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.lab import adbd, binfmt, debian, image_phone, image_ssh, places
from tests.lab.process import LabError, run


def image(kind: str) -> Path:
    """The folder with the root of a kind of device ("ssh-arm64"), built when the cache has none.

    The name holds a hash of the recipe, so a changed recipe is built anew. An image appears under its name
    in one step.
    """
    transport, _, arch = kind.partition("-")
    recipe = image_ssh if transport == "ssh" else image_phone
    sources = [Path(module.__file__ or "") for module in (recipe, debian)]

    def build(target: Path) -> None:
        debian.unpack(target, arch, recipe.PACKAGES, merge_usr=transport == "ssh")
        recipe.finish(target, arch)

    if arch == "arm64":
        binfmt.register()
    return built(f"image-{kind}", sources, build)


def adbd_folder() -> Path:
    """The folder with the Android debug daemon and its libraries, built when the cache has none."""
    return built("adbd", [Path(adbd.__file__)], adbd.build)


def prepare(kinds: Sequence[str]) -> None:
    """Nothing; everything that devices of these kinds need is in the cache."""
    for kind in dict.fromkeys(kinds):
        image(kind)
    if any(kind.startswith("adb") for kind in kinds):
        adbd_folder()


def built(name: str, sources: Sequence[Path], build: Callable[[Path], None]) -> Path:
    """The cached folder that `build(folder)` fills; `sources` are the files that say how.

    The folder is filled under a temporary name and renamed when it is whole.
    """
    recipe = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:10]
    path = places.cache_dir() / f"{name}-{recipe}"
    if path.exists():
        return path
    with places.locked(name, timeout_s=900):
        if path.exists():
            return path
        for left in path.parent.glob(f"{name}.*.part*"):
            remove_tree(left)
        # A name of its own: programs that a killed build left running cannot spoil this one.
        part = path.with_name(f"{name}.{os.getpid()}.part")
        try:
            build(part)
            part.rename(path)
        finally:
            remove_tree(part)
    return path


def remove_tree(path: Path) -> None:
    """Nothing; the folder is gone. Whatever is mounted in it is never descended into."""
    if path.exists():
        run(["rm", "-rf", "--one-file-system", "--", path], timeout_s=120, check=False)
    if path.exists():
        raise LabError(f"{path}: cannot be removed")


def forget() -> None:
    """Nothing; the cache holds no image and no daemon any more."""
    for pattern in ("image-*", "adbd-*"):
        for path in places.cache_dir().glob(pattern):
            if path.is_dir():
                shutil.rmtree(path)
