"""Trees of /sys and /proc in a temporary folder, from the .tsv files of tests/data/sysfs or from a dict."""

from __future__ import annotations

from pathlib import Path

DATA = Path(__file__).parent.parent / "data" / "sysfs"


def make_tree(root: Path, files: dict[str, str | bytes]) -> str:
    """The root as text, after each absolute path of ``files`` is written below it (text with the kernel's newline)."""
    for path, content in files.items():
        target = root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content if isinstance(content, bytes) else content.encode() + b"\n")
    return str(root)


def read_tsv(name: str) -> dict[str, str | bytes]:
    """{path: content} of a .tsv file in tests/data/sysfs."""
    files: dict[str, str | bytes] = {}
    for line in (DATA / name).read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            path, content = line.split("\t", 1)
            files[path] = content
    return files


def set_file(root: str, path: str, content: str) -> None:
    """Replaces one file of a tree, as a board's driver would change its value."""
    (Path(root) / path.lstrip("/")).write_text(content + "\n", encoding="utf-8")
