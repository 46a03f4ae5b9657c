"""The agent's zip: the same bytes wherever it is built, and it runs on every Python that a board may have."""

from __future__ import annotations

import ast
import glob
import hashlib
import io
import json
import os
import pwd
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from mobile.agent_zip import agent_zip, build_agent_zip
from mobile.errors import AgentError
from tests.support.agents import QUICK, ROOT, run_agent

AGENT = ROOT / "device_agents"


def other_pythons() -> dict[int, str]:
    """By minor version, from 3.8: a Python that is found in the usual places."""
    home = pwd.getpwuid(os.getuid()).pw_dir
    found = {}
    for minor in range(8, 20):
        places = [
            shutil.which(f"python3.{minor}"),
            *sorted(glob.glob(f"{home}/.pyenv/versions/3.{minor}.*/bin/python")),
            *sorted(glob.glob(f"{home}/.local/share/uv/python/cpython-3.{minor}.*/bin/python3")),
            *sorted(glob.glob(f"/opt/*/3.{minor}.*/bin/python3")),
        ]
        for place in places:
            if place and minor not in found and works(place, minor):
                found[minor] = place
    return found


def works(python, minor):
    """True for a Python of that version (a pyenv shim of a version that is not active only fails)."""
    code = f"import sys; sys.exit(sys.version_info[:2] != (3, {minor}))"
    try:
        return subprocess.run([python, "-c", code], timeout=20, capture_output=True).returncode == 0
    except OSError:
        return False


PYTHONS = other_pythons()
TO_TRY = [pytest.param(path, id=f"3.{minor}") for minor, path in PYTHONS.items()]
if 8 not in PYTHONS:
    absent = pytest.mark.skip(reason="no CPython 3.8 on this machine, the oldest that the agent runs on")
    TO_TRY.append(pytest.param("", id="3.8", marks=absent))


@pytest.fixture(scope="module")
def zip_path(tmp_path_factory):
    made = agent_zip()
    path = tmp_path_factory.mktemp("zip") / made.name
    path.write_bytes(made.data)
    return path


def test_two_builds_in_different_places_are_the_same(tmp_path):
    before = os.umask(0o077)
    try:
        shutil.copytree(AGENT, tmp_path / "a" / "device_agents")
        os.umask(0)
        shutil.copytree(AGENT, tmp_path / "b" / "elsewhere", copy_function=shutil.copyfile)
    finally:
        os.umask(before)
    for path in (tmp_path / "b").rglob("*.py"):
        path.chmod(0o777)
        os.utime(path, (1, 1))
    (tmp_path / "b" / "elsewhere" / "notes.txt").write_text("not code")
    first = build_agent_zip(tmp_path / "a" / "device_agents")
    assert first == build_agent_zip(tmp_path / "b" / "elsewhere") == agent_zip()


def test_the_bytes_do_not_depend_on_the_python_that_builds_them():
    code = "from mobile.agent_zip import agent_zip; print(agent_zip().sha256)"
    for minor, python in PYTHONS.items():
        if minor < 10:
            continue  # that is no host
        done = subprocess.run([python, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert done.stdout.strip() == agent_zip().sha256, done.stderr


def test_it_is_named_by_what_it_holds():
    made = agent_zip()
    assert made.sha256 == hashlib.sha256(made.data).hexdigest()
    assert made.name == f"edgewise-agent-{made.sha256[:12]}.zip"
    assert agent_zip() is made


def test_it_holds_the_agents_code_and_nothing_else():
    with zipfile.ZipFile(io.BytesIO(agent_zip().data)) as archive:
        names = archive.namelist()
        assert names == sorted(names)
        assert archive.testzip() is None
        assert archive.read("device_agents/loop.py") == (AGENT / "loop.py").read_bytes()
    expected = {path.relative_to(ROOT).as_posix() for path in AGENT.rglob("*.py")}
    assert set(names) == expected | {"__main__.py"}


def test_the_code_is_syntax_of_python_3_8():
    with zipfile.ZipFile(io.BytesIO(agent_zip().data)) as archive:
        for name in archive.namelist():
            ast.parse(archive.read(name), filename=name, feature_version=(3, 8))


def test_a_folder_that_is_not_the_agent(tmp_path):
    with pytest.raises(AgentError, match="not the agent's code"):
        build_agent_zip(tmp_path)


@pytest.mark.parametrize("python", TO_TRY)
def test_it_runs_on_this_python(zip_path, python, tmp_path):
    stream = run_agent({"runner": "null"}, [python, str(zip_path), "run"], cwd=tmp_path)
    assert stream.done["outcome"] == "completed", stream.stderr
    assert stream.records[0]["agent"]["sha256"] == agent_zip().sha256
    assert len(stream.durations("measure")) == QUICK["min_count"]
    done = subprocess.run([python, str(zip_path), "facts"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    (hello,) = [json.loads(line) for line in done.stdout.splitlines()]
    assert hello["type"] == "hello"
    assert hello["device"]["python"]["executable"]
    assert hello["spec"] is None
    assert list(tmp_path.iterdir()) == []


def test_it_leaves_no_file_beside_itself(zip_path, tmp_path):
    run_agent({"runner": "null"}, [sys.executable, str(zip_path), "run"], cwd=tmp_path)
    assert [path.name for path in Path(zip_path).parent.iterdir()] == [zip_path.name]
