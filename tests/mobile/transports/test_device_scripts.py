"""The shell scripts of the transports, in every shell that this machine has; Android's is mksh."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from mobile.transports import scripts

LARGE_BYTES = 5 * 2**30  # does not fit into 32 bits; the file has a hole of that size and takes no room
SHELLS = [words for words in (["sh"], ["bash"], ["mksh"], ["busybox", "sh"]) if shutil.which(words[0])]


@pytest.fixture(params=["stat", "no stat"])
def environment(request, tmp_path):
    """Variables of the commands; without `stat`, sizes come from `wc`, whose answer has spaces in front on some."""
    if request.param == "stat":
        return dict(os.environ)
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, body in (("stat", "exit 1"), ("wc", f'echo "   {LARGE_BYTES}"')):
        (folder / name).write_text(f"#!/bin/sh\n{body}\n")
        (folder / name).chmod(0o755)
    return {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}


def run(shell, script, *arguments, env):
    command = [*shell, "-c", script, "sh", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=env)


@pytest.mark.parametrize("shell", SHELLS, ids=" ".join)
def test_files_over_4_gib_keep_their_size(tmp_path, shell, environment):
    arrived, target = tmp_path / "arrived", tmp_path / "target"
    with arrived.open("wb") as stream:
        stream.truncate(LARGE_BYTES)
    wrapped = run(shell, scripts.FINISH_PUT, tmp_path / "none", target, LARGE_BYTES % 2**32, "644", env=environment)
    assert wrapped.returncode == 1
    done = run(shell, scripts.FINISH_PUT, arrived, target, LARGE_BYTES, "644", env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert target.stat().st_size == LARGE_BYTES
    assert run(shell, scripts.PREPARE_GET, target, env=environment).stdout.split() == [str(LARGE_BYTES)]


@pytest.mark.parametrize("shell", SHELLS, ids=" ".join)
def test_a_file_that_is_gone_has_no_bytes_and_fails_the_put(tmp_path, shell):
    gone = run(shell, f'{scripts.SIZE} size_of "$1"', tmp_path / "none", env=dict(os.environ))
    assert gone.stdout == "0\n"
    done = run(shell, scripts.FINISH_PUT, tmp_path / "none", tmp_path / "target", 0, "644", env=dict(os.environ))
    assert done.returncode == 1
    assert not (tmp_path / "target").exists()
