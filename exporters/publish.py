"""A folder beside the output in which an export is built, and the step that puts it in place whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from types import TracebackType

from mobile.errors import ExportError


class Staging:
    """A hidden folder beside ``output``; it is gone when the ``with`` block ends, however it ends.

    It lies on the output's own file system, so that renaming out of it is atomic.
    """

    def __init__(self, output: Path) -> None:
        self.output = output
        self.folder = Path()

    def __enter__(self) -> Staging:
        parent = self.output.parent
        if self.output.is_dir():
            raise ExportError(f"{self.output}: is a folder, the artifact's file was expected", "Name a file in it.")
        if not parent.is_dir():
            raise ExportError(f"{self.output}: there is no folder {parent}", f"Make it first: mkdir -p {parent}")
        try:
            self.folder = Path(tempfile.mkdtemp(prefix=f".{self.output.name}.edgewise-", dir=parent))
        except OSError as error:
            raise unwritable(self.output, error) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def publish(self, names: list[str], obsolete: list[str]) -> None:
        """Moves the staged files of these names beside the output, in order, then removes the obsolete ones there.

        Name what others refer to first, the manifest last. When anything fails or is interrupted, what was there before
        is put back.
        """
        old = self.folder / "replaced"
        old.mkdir()
        for name in names:
            _flush(self.folder / name)
        started: list[str] = []
        try:
            for name in names:
                target = self.output.parent / name
                if target.exists():
                    _keep(target, old / name)
                started.append(name)
                (self.folder / name).replace(target)
        except BaseException:
            for name in reversed(started):
                self._put_back(name, old / name)
            raise
        for name in set(obsolete) - set(names):
            (self.output.parent / name).unlink(missing_ok=True)

    def _put_back(self, name: str, kept: Path) -> None:
        target = self.output.parent / name
        if kept.exists():
            kept.replace(target)
        elif not (self.folder / name).exists():  # it had been moved
            target.unlink(missing_ok=True)


def unwritable(path: Path, error: OSError) -> ExportError:
    """The ExportError for a file that could not be written, the one place where OSError is mapped in exports."""
    hint = (
        "Free some space, or choose another folder." if error.errno == 28 else "Check the folder and its permissions."
    )
    return ExportError(f"{path}: cannot be written ({error.strerror or error})", hint)


def _keep(target: Path, kept: Path) -> None:
    """A second name for the old file, or a copy where the file system has no links."""
    try:
        os.link(target, kept)
    except OSError:
        shutil.copy2(target, kept)


def _flush(path: Path) -> None:
    """The file's content on disk before its name is: else a power loss could leave the name with nothing behind it."""
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
