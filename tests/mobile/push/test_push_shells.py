"""The store's scripts with files whose sizes do not fit into 32 bits, in every shell here; Android's is mksh."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from mobile.push import scripts

LARGE_BYTES = 5 * 2**30  # a hole of that size, which takes no room
SHELLS = [words for words in (["sh"], ["bash"], ["mksh"], ["busybox", "sh"]) if shutil.which(words[0])]


def run(shell, script, *arguments):
    command = [*shell, "-c", script, "sh", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def large(tmp_path):
    path = tmp_path / "store" / "ab" / ("ab" * 32) / "model.onnx"
    path.parent.mkdir(parents=True)
    with path.open("wb") as stream:
        stream.truncate(LARGE_BYTES)
    return path


@pytest.mark.parametrize("shell", SHELLS, ids=" ".join)
def test_a_large_file_is_had_and_one_of_its_size_modulo_32_bits_is_not(tmp_path, shell, large):
    def answer(size_bytes):
        done = run(
            shell, scripts.PREPARE, tmp_path / "incoming", tmp_path / "store", 0, 0, large, size_bytes, "ab" * 32
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()[0]

    assert answer(LARGE_BYTES) == "have"
    assert answer(LARGE_BYTES % 2**32) == "need"


@pytest.mark.parametrize("shell", SHELLS, ids=" ".join)
def test_a_large_part_is_told_with_its_size_and_stays_when_it_is_the_longer_one(tmp_path, shell):
    incoming = tmp_path / "incoming"
    incoming.mkdir()
    sha256, owner = "cd" * 32, "999999999-999999999-1-none"
    for suffix, size_bytes in ((scripts.PART, LARGE_BYTES), (owner, 3 * 2**30)):
        with (incoming / f"{sha256}.{suffix}").open("wb") as stream:
            stream.truncate(size_bytes)
    done = run(shell, scripts.PREPARE, incoming, tmp_path / "store", 0, 0, tmp_path / "none", 1, sha256)
    assert f"part {scripts.PART} {LARGE_BYTES} free" in done.stdout
    claimed = run(shell, scripts.CLAIM, incoming, sha256, owner, 0)
    assert claimed.returncode == 0, claimed.stderr
    assert (incoming / f"{sha256}.{scripts.PART}").stat().st_size == LARGE_BYTES
    assert len(list(incoming.iterdir())) == 1


@pytest.mark.parametrize("shell", SHELLS, ids=" ".join)
def test_a_list_tells_large_sizes(shell, large, tmp_path):
    done = run(shell, scripts.LIST, tmp_path / "store")
    assert done.stdout == f"{LARGE_BYTES} {large}\0"
