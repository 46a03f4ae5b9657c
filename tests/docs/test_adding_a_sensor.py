"""docs/adding-a-sensor.md does what it says: its blocks, written into a copy of the project, pass as they stand."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/adding-a-sensor.md"
BLOCK = re.compile(r'^```(\w+) title="([^"]+)"\n(.*?)^```', re.MULTILINE | re.DOTALL)
COPIED = ("device_agents", "mobile", "tests/support")


def blocks() -> list[tuple[str, str, str]]:
    """(language, path, content) of each block with a title, in order."""
    return BLOCK.findall(PAGE.read_text(encoding="utf-8"))


def insert(text: str, change: str) -> str:
    """The text with the "+" lines of the change, each behind the line that stands before it in the change."""
    lines, at = text.splitlines(), -1
    for line in change.splitlines():
        if line.startswith("+"):
            at += 1
            lines.insert(at, line[1:])
        else:
            at = lines.index(line[1:])
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of the project with everything that the page adds."""
    root = tmp_path_factory.mktemp("project")
    for name in COPIED:
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for language, name, content in blocks():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(insert(path.read_text(encoding="utf-8"), content) if language == "diff" else content)
    return root


def test_the_page_adds_a_sensor_and_a_board():
    paths = [path for _, path, _ in blocks()]
    assert [path for path in paths if path.startswith("tests/device_agents")] == [
        "tests/device_agents/sensors/test_rknpu.py",
        "tests/device_agents/sensors/test_example_x1.py",
    ]
    assert not [path for language, path, _ in blocks() if language != "diff" and (ROOT / path).exists()]


def test_what_the_page_adds_passes_its_tests(project):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", "."]
    done = subprocess.run(
        [*command, "--import-mode=importlib", "tests"], cwd=project, capture_output=True, text=True, timeout=100,
        env={**os.environ, "PYTHONPATH": str(project), "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 passed" in done.stdout


def test_what_the_page_adds_keeps_the_houses_rules(project):
    files = [name for language, name, _ in blocks() if language in ("py", "diff") and not name.startswith("tests/")]
    config = ["--config", str(ROOT / "pyproject.toml"), "--no-cache"]
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "check", *config, "--select", "E,F,N,T,S", *files],
        cwd=project, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


def test_a_change_is_put_where_its_line_is():
    assert insert("a\nb\nc\n", " b\n+x\n+y\n") == "a\nb\nx\ny\nc\n"
    with pytest.raises(ValueError):
        insert("a\n", " gone\n+x\n")
