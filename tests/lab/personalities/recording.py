"""A recording of a real board (`edgewise doctor NAME --record`, docs/recording.md) as a personality."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.lab.process import LabError


@dataclass(frozen=True)
class Recorded:
    """A recorded board; it has what Personality has. Files show what they held in the first pass of the recording."""

    name: str
    path: Path
    cores: int = 4

    def write(self, root: Path) -> str:
        """The root as text, with the whole board below it."""
        from mobile.record.replay import replay_archive

        replay_archive(self.path, root)
        return str(root)

    def write_sys(self, sys: Path) -> None:
        """Nothing; ``sys`` holds the board's /sys."""
        with tempfile.TemporaryDirectory(prefix="edgewise-lab-") as folder:
            tree = Path(self.write(Path(folder) / "tree"))
            if (tree / "sys").is_dir():
                shutil.copytree(tree / "sys", sys, symlinks=True, dirs_exist_ok=True)
            model = tree / "proc/device-tree"
            there = sys / "firmware/devicetree/base"
            if model.is_dir() and not there.exists():
                shutil.copytree(model, there, symlinks=True)

    def write_system(self, root: Path, proc: bool = False) -> None:
        """Nothing; programs and the files outside /sys are below ``root``; with ``proc`` those of /proc too."""
        with tempfile.TemporaryDirectory(prefix="edgewise-lab-") as folder:
            tree = Path(self.write(Path(folder) / "tree"))
            for entry in sorted(tree.iterdir()):
                if entry.name in ("sys", "dev") or (entry.name == "proc" and not proc):
                    continue
                self._copy(entry, root / entry.name)

    def _copy(self, source: Path, target: Path) -> None:
        # The image has links where the board has folders (/bin -> usr/bin), and its own shell and libraries stay.
        if source.is_dir() and not source.is_symlink():
            target.mkdir(exist_ok=True)
            for entry in sorted(source.iterdir()):
                self._copy(entry, target / entry.name)
        elif source.is_symlink() or source.is_file():
            if target.exists() and not source.is_symlink() and source.stat().st_size == 0:
                return  # listed on the board and never read: the image's own is better than nothing
            if target.is_symlink() or target.exists():
                target.unlink()
            shutil.copy2(source, target, follow_symlinks=False)


def read(path: Path) -> Recorded:
    """The recording at ``path``. LabError with the reason when it is none."""
    from mobile.errors import EdgewiseError
    from mobile.record.archive import read_archive

    try:
        read_archive(path)
    except EdgewiseError as error:
        raise LabError(f"{path}: {error}") from error
    return Recorded(path.stem, path)
