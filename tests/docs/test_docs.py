"""The documentation does what it says: its commands run, its examples run, its options exist."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mobile import example
from tests.support.markdown import blocks, commands
from tests.support.reference import PAGE, reference

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
# Commands of a page that set a machine up: `.ci/run` is made of them, so that they are run there, once, and not here.
NOT_HERE = ("git ", "make ", "pip ", "pipx ", "cd ", "python -m venv", "bash .ci/run", "uv ", "sudo ", "apt-get ")


def run_command(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """One line as a user's shell would run it, with edgewise on the PATH."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-c", line], cwd=folder, env={**os.environ, "PATH": path}, capture_output=True, text=True, timeout=200
    )


@pytest.fixture
def folder(tmp_path):
    """A working folder with the files that the pages speak of."""
    shutil.copy(example.model_path(), tmp_path / "model.onnx")
    shutil.copy(example.evaluation_path(), tmp_path / "images.npz")
    shutil.copy(example.calibration_path(), tmp_path / "calibration.npz")
    shutil.copy(ROOT / "mobile/example/train.py", tmp_path / "network.py")
    shutil.copy(ROOT / "devices.yaml", tmp_path / "devices.yaml")
    return tmp_path


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=lambda page: page.stem)
def test_the_commands_of_the_page_run(page, folder):
    for command in commands(page):
        if command.line.startswith(NOT_HERE):
            continue
        done = run_command(command.line, folder)
        assert done.returncode == command.exit_code, f"$ {command.line}\n{done.stdout}\n{done.stderr}"


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.stem)
def test_the_examples_of_the_page_run(page, folder):
    for body in blocks(page, "python"):
        done = subprocess.run([sys.executable, "-c", body], cwd=folder, capture_output=True, text=True, timeout=100)
        assert done.returncode == 0, f"{body}\n{done.stdout}\n{done.stderr}"


def test_a_wrong_command_in_a_page_is_seen(folder):
    page = folder / "page.md"
    page.write_text("```console\n$ edgewise bench model.onnx --no-such-option\n```\n")
    (command,) = commands(page)
    assert run_command(command.line, folder).returncode != command.exit_code


def test_the_reference_of_commands_is_fresh():
    assert PAGE.read_text(encoding="utf-8") == reference(), "run: python -m tests.support.reference"


def test_the_short_helps_are_the_commands_own():
    from mobile.cli.main import COMMANDS, cli

    for name, (_, text) in COMMANDS.items():
        command = cli.get_command(None, name)
        assert command.short_help == text


def test_pages_name_only_commands_that_exist():
    from mobile.cli.main import COMMANDS

    for page in PAGES:
        for command in commands(page):
            words = shlex.split(command.line.split("|")[0], comments=True)
            if words and words[0] == "edgewise":
                named = next((word for word in words[1:] if not word.startswith("-")), "--help")
                assert named in COMMANDS or named == "--help" or words[1].startswith("--"), command.line


def test_links_between_pages_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_examples_of_an_inventory_are_read(tmp_path):
    from mobile.inventory import load_inventory

    examples = [body for page in PAGES for body in blocks(page, "yaml") if not body.startswith("policy:")]
    assert examples
    for body in examples:
        path = tmp_path / "devices.yaml"
        path.write_text(body, encoding="utf-8")
        assert len(load_inventory(path).devices) > 1


def test_every_failure_code_is_explained():
    from device_agents.failures import HINTS

    page = (ROOT / "docs" / "agent.md").read_text(encoding="utf-8")
    for code, hint in HINTS.items():
        assert f"| `{code}` | {hint} |" in page
