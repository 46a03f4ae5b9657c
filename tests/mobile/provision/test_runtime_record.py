"""What the agent is started with, from what set-up left on the device."""

from __future__ import annotations

import json
import os
import sys
from types import SimpleNamespace

import pytest

from mobile.deadline import Deadline
from mobile.errors import RemoteFileError
from mobile.provision import DeviceRuntime, runtime_for
from mobile.provision.install import put_layer
from mobile.provision.layers import pack
from mobile.provision.runtime import Record, parse
from mobile.push import DeviceStore
from mobile.transports.fake import FakeTransport, run_locally

LAYER = "a" * 64


@pytest.fixture
def board(tmp_path):
    with FakeTransport(run_locally, root=tmp_path / "device") as fake:
        fake.root.mkdir()
        yield fake


@pytest.fixture
def store(board):
    return DeviceStore(board, str(board.root / "work"))


def device(python="python3", transport="ssh"):
    return SimpleNamespace(name="pi", transport=transport, python=python)


def record(store, **changes):
    runtime = DeviceRuntime(["/x/python3"], ["/x/wheels"], {"LD_LIBRARY_PATH": "/x/lib"})
    fields = {"kind": "wheels", "asked_python": "python3", "runtime": runtime, "layers": (LAYER,), **changes}
    return Record(**fields)


def leave(board, data, layers=(LAYER,)):
    folder = board.root / "work"
    for name in layers:
        (folder / "runtimes" / name).mkdir(parents=True)
    folder.mkdir(exist_ok=True)
    (folder / "runtime.json").write_bytes(data)


def ask(board, store, python="python3"):
    return runtime_for(board, store, device(python), Deadline(20))


def test_a_device_that_was_not_set_up_uses_the_inventorys_python(board, store):
    assert ask(board, store, "python3.9") == DeviceRuntime(["python3.9"])


def test_a_device_that_was_set_up_uses_what_was_set_up(board, store):
    left = record(store)
    leave(board, left.to_json())
    assert ask(board, store) == left.runtime
    assert left.runtime.environment() == {"LD_LIBRARY_PATH": "/x/lib", "PYTHONPATH": "/x/wheels"}


def test_it_takes_one_command(board, store):
    leave(board, record(store).to_json())
    store.folder(Deadline(20))
    before = len(board.calls)
    ask(board, store)
    assert len(board.calls) == before + 1


def test_a_layer_that_is_gone_means_the_plain_python(board, store):
    leave(board, record(store).to_json(), layers=())
    assert ask(board, store) == DeviceRuntime(["python3"])


def test_another_python_in_the_inventory_wins(board, store):
    leave(board, record(store).to_json())
    assert ask(board, store, "/opt/python") == DeviceRuntime(["/opt/python"])


GOOD = json.loads(record(None).to_json())


@pytest.mark.parametrize(
    "data",
    [
        b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000,
        *(json.dumps({**GOOD, key: value}).encode() for key, value in [
            ("schema", "2.0"), ("schema", None), ("python", []), ("python", "python3"), ("python", [1]),
            ("python", ["a\0b"]), ("env", []), ("env", {"A=B": "c"}), ("env", {"A": 1}), ("layers", None), ("kind", ""),
            ("python_path", [""]), ("runtimes", {"a": None}),
        ]),
    ],
)  # fmt: skip
def test_a_damaged_file_means_the_plain_python(data, board, store):
    leave(board, data)
    assert ask(board, store) == DeviceRuntime(["python3"])
    found = parse(b"=\n" + data)
    assert found.record is None
    assert found.problem is not None or not data


def test_unknown_fields_of_a_later_edgewise_are_passed_over(board, store):
    leave(board, json.dumps({**GOOD, "later": 1, "schema": "1.7"}).encode())
    assert ask(board, store).python == ["/x/python3"]


def test_this_machine_is_its_own_runtime(board, store):
    assert runtime_for(board, store, device(transport="local"), Deadline(20)) == DeviceRuntime([sys.executable])
    other = runtime_for(board, store, device("python3.9", "local"), Deadline(20))
    assert other == DeviceRuntime(["python3.9"])


@pytest.fixture
def a_layer(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEWISE_CACHE", str(tmp_path / "cache"))
    tree = tmp_path / "tree"
    (tree / "bin").mkdir(parents=True)
    (tree / "bin/run").write_text("#!/bin/sh\necho ran\n")
    (tree / "bin/run").chmod(0o755)
    (tree / ("long" * 30)).write_text("x")
    return pack("n", tree, {})


def names(board):
    folder = board.root / "work" / "runtimes"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_a_layer_arrives_whole_and_its_archive_goes(board, store, a_layer):
    place = put_layer(board, store, a_layer, None, Deadline(30))
    assert names(board) == [a_layer.address]
    assert board.run([f"{place}/bin/run"], deadline=Deadline(10)).stdout == b"ran\n"
    assert store.stored(deadline=Deadline(10)) == []
    assert put_layer(board, store, a_layer, None, Deadline(30)) == place


def test_a_half_layer_of_that_name_is_replaced(board, store, a_layer):
    half = board.root / "work/runtimes" / a_layer.address
    half.mkdir(parents=True)
    (half / "old").write_text("")
    put_layer(board, store, a_layer, None, Deadline(30))
    assert not (half / "old").exists()
    assert (half / "bin/run").exists()


def test_what_a_cut_left_goes_and_what_is_under_way_stays(board, store, a_layer):
    folder = board.root / "work/runtimes"
    gone, alive = folder / ".new-0123-4194399", folder / f".new-0123-{os.getpid()}"
    for path in (gone, alive):
        path.mkdir(parents=True)
    put_layer(board, store, a_layer, None, Deadline(30))
    assert (gone.exists(), alive.exists()) == (False, True)


def test_an_archive_that_is_not_whole_leaves_nothing(board, store, a_layer, tmp_path, monkeypatch):
    """As when a disk fills up while it is unpacked, or the archive is of another tool."""
    import gzip

    a_layer.archive.write_bytes(gzip.compress(gzip.decompress(a_layer.archive.read_bytes())[:1536]))
    with pytest.raises(RemoteFileError):
        put_layer(board, store, a_layer, None, Deadline(30))
    assert names(board) == []


def test_without_tar_python_unpacks(board, store, a_layer, tmp_path):
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("sh", "mkdir", "rm", "rmdir", "mv", "find", "sync", "wc", "df", "sha256sum", "cat", "chmod", "ls"):
        for folder in ("/usr/bin", "/bin"):
            if not (tools / name).exists() and (tmp_path / folder / name).exists():
                (tools / name).symlink_to(f"{folder}/{name}")
    archive = store.put_file(a_layer.archive, "n.tar.gz", deadline=Deadline(30))
    from mobile.provision.scripts import UNPACK

    for python, code in ((sys.executable, 0), ("", 1)):
        arguments = [archive, str(board.root / f"r{code}"), a_layer.address, "new", python]
        done = board.run(["sh", "-c", UNPACK, "sh", *arguments], deadline=Deadline(30), env={"PATH": str(tools)})
        assert done.exit_code == code
        archive = store.put_file(a_layer.archive, "n.tar.gz", deadline=Deadline(30))
    assert b"neither tar and gzip nor Python" in done.stderr
    assert (board.root / "r0" / a_layer.address / "bin/run").exists()
    assert not list((board.root / "r1").iterdir())


def test_a_broken_link_leaves_what_was_there(board, store, a_layer):
    leave(board, record(store).to_json())
    store.folder(Deadline(20))
    board.faults.cut_after_bytes = 100
    with pytest.raises(OSError):
        put_layer(board, store, a_layer, None, Deadline(30))
    board.faults.cut_after_bytes = None
    assert names(board) == [LAYER]
    assert ask(board, store) == record(store).runtime
