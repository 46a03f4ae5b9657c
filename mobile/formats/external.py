"""External data of an ONNX model: where it may lie, and whether it is all there."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path, PurePosixPath, PureWindowsPath

from mobile.errors import ModelError
from mobile.formats.model_index import TensorBytes

_HINT = "Put the file back beside the model, or export the model again."


def external_path(model: Path, location: str) -> Path:
    """The file that ``location`` names. ModelError unless it is a regular file inside the model's own folder.

    A location that is absolute, climbs with ``..``, or leaves the folder through a symbolic link is refused:
    reading a model must not read files elsewhere.
    """
    posix, windows = PurePosixPath(location), PureWindowsPath(location)
    outside = posix.is_absolute() or windows.is_absolute() or bool(windows.drive) or ".." in windows.parts
    if outside or "\0" in location or "\\" in location:
        raise ModelError(
            f"{model}: external data {location[:200]!r} lies outside the model's folder",
            "Edgewise reads external data only beside the model: move it there and save the model anew.",
        )
    path = model.parent / location
    try:
        folder, real = model.parent.resolve(strict=True), path.resolve(strict=True)
        status = real.stat()
    except (
        OSError,
        RuntimeError,
        ValueError,
    ) as error:  # missing, a link that runs in a circle, or no file name
        raise ModelError(f"{model}: external data {location[:200]!r} is missing", _HINT) from error
    if not real.is_relative_to(folder):
        raise ModelError(
            f"{model}: external data {location[:200]!r} is a link to {real}, outside the model's folder",
            "Copy the file into the model's folder.",
        )
    if not stat.S_ISREG(status.st_mode):
        raise ModelError(f"{model}: external data {location[:200]!r} is not a regular file", _HINT)
    if not os.access(real, os.R_OK):
        raise ModelError(f"{model}: external data {location[:200]!r} may not be read", "Check its permissions.")
    return path


def check_external(model: Path, tensors: Iterable[TensorBytes]) -> dict[str, Path]:
    """The external files of the tensors: location -> path. ModelError when one is missing, outside, or too
    short.
    """
    paths: dict[str, Path] = {}
    sizes: dict[str, int] = {}
    for tensor in tensors:
        location = tensor.file
        if location is None:
            continue
        if location not in paths:
            paths[location] = external_path(model, location)
            sizes[location] = paths[location].stat().st_size
        needed = (tensor.offset or 0) + tensor.length
        if needed > sizes[location]:
            raise ModelError(
                f"{model}: tensor {tensor.name!r} ends at byte {needed} of {location!r}, which has {sizes[location]}",
                _HINT,
            )
    return paths
