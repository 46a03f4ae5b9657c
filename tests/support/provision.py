"""Small things to set devices up with: a Debian package, wheels, and the layers that the lab's devices need."""

from __future__ import annotations

import io
import os
import tarfile
import zipfile
from contextlib import contextmanager
from pathlib import Path

from mobile.deadline import Deadline
from mobile.provision import bundle, debian, wheels
from mobile.provision.layers import layer
from mobile.provision.tags import Target, platform_tags

# Beside the lab's images, so that downloads are paid for once.
GLIBC = debian.GLIBC  # of the lab's boards, which are Debian's too


def make_deb(path: Path, files: dict[str, bytes], links: dict[str, str] | None = None, executable=()) -> Path:
    """A Debian package with these files, as dpkg-deb writes it but for the control archive, which nobody reads here."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:xz") as tar:
        for name, body in files.items():
            info = tarfile.TarInfo("./" + name)
            info.size, info.mode = len(body), 0o755 if name in executable else 0o644
            tar.addfile(info, io.BytesIO(body))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo("./" + name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            tar.addfile(info)
    members = [("debian-binary", b"2.0\n"), ("data.tar.xz", data.getvalue())]
    packed = b"!<arch>\n"
    for name, body in members:
        packed += f"{name:<16}{'0':<12}{'0':<6}{'0':<6}{'100644':<8}{len(body):<10}`\n".encode() + body
        packed += b"\n" * (len(body) % 2)
    path.write_bytes(packed)
    return path


def make_wheel(folder: Path, name: str, version: str, tag: str, files: dict[str, str | bytes], needs=()) -> Path:
    """A wheel that pip takes."""
    info = f"{name}-{version}.dist-info"
    requires = "".join(f"Requires-Dist: {need}\n" for need in needs)
    entries = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{requires}",
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: {tag}\n",
    }
    entries[f"{info}/RECORD"] = "".join(f"{entry},,\n" for entry in entries)
    path = folder / f"{name}-{version}-{tag}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for entry, body in entries.items():
            archive.writestr(entry, body)
    return path


def lab_cache() -> Path:
    """The cache for what the lab's devices are given."""
    from tests.lab.places import cache_dir

    return cache_dir() / "edgewise-cache"


def prefill(*machines: str, phone: bool = False, runtimes=("onnxruntime",)) -> None:
    """Nothing, once the layers for the lab's devices are in $EDGEWISE_CACHE: within the lab there is no internet."""
    deadline = Deadline(240)  # another worker of the test run may be building the same
    for machine in machines:
        target = Target(debian.PYTHON, machine, tuple(platform_tags(machine, GLIBC)))
        request = wheels.Request(tuple(runtimes), target)
        layer(
            f"wheels-{target.label}", request.key(), lambda tree, r=request: wheels.build(r, tree, deadline), deadline
        )
    if phone:
        bundle.python_layer("aarch64", "android", deadline)


@contextmanager
def cache_at(folder: Path):
    """Sets $EDGEWISE_CACHE within the block."""
    before = os.environ.get("EDGEWISE_CACHE")
    os.environ["EDGEWISE_CACHE"] = str(folder)
    try:
        yield
    finally:
        os.environ.pop("EDGEWISE_CACHE")
        if before is not None:
            os.environ["EDGEWISE_CACHE"] = before
