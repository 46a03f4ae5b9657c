"""The content-addressed store, on this machine's own tools."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from mobile.deadline import Deadline
from mobile.errors import ConfigError, EdgewiseError, NoSpaceOnDevice, RemoteFileError, TransportError, UsageError
from mobile.push import DeviceStore, scripts
from mobile.push.device import available_bytes
from mobile.transports.base import Completed
from mobile.transports.fake import FakeTransport, run_locally
from mobile.transports.local import LocalTransport

LIMIT_S = 30


@pytest.fixture
def workdir(tmp_path):
    return tmp_path / "work dir"


@pytest.fixture
def store(workdir):
    return DeviceStore(LocalTransport(), str(workdir))


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def left(workdir):
    """All files there but chunk indexes, by their path."""
    found = (path for path in workdir.rglob("*") if path.is_file() and path.name != scripts.INDEX_NAME)
    return sorted(str(path.relative_to(workdir)) for path in found)


class Counting(LocalTransport):
    """Counts what is sent: the target of each RECEIVE, before which ``before(number)`` is called."""

    def __init__(self, before=lambda number: None):
        super().__init__()
        self.sent = []
        self._before = before

    def run(self, argv, **options):
        if argv[2:3] == [scripts.RECEIVE]:
            self.sent.append(argv[9])
            self._before(len(self.sent))
        return super().run(argv, **options)


@pytest.mark.parametrize("name", ["model.onnx", "odd 'name' \n$x", "-dash", os.fsdecode(b"\xff.onnx")], ids=ascii)
def test_a_file_lies_under_its_hash(store, workdir, name):
    path = store.put_file(b"model", name, deadline=Deadline(LIMIT_S))
    digest = sha256(b"model")
    assert path == f"{workdir}/store/{digest[:2]}/{digest}/{name}"
    with open(path, "rb") as stream:
        assert stream.read() == b"model"
    assert left(workdir) == [f"store/{digest[:2]}/{digest}/{name}"]


def test_what_is_there_is_not_sent_again(workdir):
    transport = Counting()
    paths = {DeviceStore(transport, str(workdir)).put_file(b"m", "m", deadline=Deadline(LIMIT_S)) for _ in range(3)}
    assert len(paths) == 1
    assert len(transport.sent) == 1


def test_a_file_of_another_size_is_sent_again(store):
    path = store.put_file(b"model", "m", deadline=Deadline(LIMIT_S))
    with open(path, "wb") as stream:
        stream.write(b"mod")
    assert store.put_file(b"model", "m", deadline=Deadline(LIMIT_S)) == path
    with open(path, "rb") as stream:
        assert stream.read() == b"model"


def test_a_recheck_finds_a_damaged_file(store):
    path = store.put_file(b"model", "m", deadline=Deadline(LIMIT_S))
    with open(path, "wb") as stream:
        stream.write(b"MODEL")
    store.put_file(b"model", "m", deadline=Deadline(LIMIT_S), recheck=True)
    with open(path, "rb") as stream:
        assert stream.read() == b"model"


def test_files_that_belong_together_keep_their_names(store, tmp_path, workdir):
    (tmp_path / "sub").mkdir()
    for name, data in (("m.onnx", b"graph"), ("m.data", b"weights"), ("sub/more.data", b"more")):
        (tmp_path / name).write_bytes(data)
    paths = [tmp_path / "m.onnx", tmp_path / "m.data", tmp_path / "sub" / "more.data"]
    main = store.put_files(paths, deadline=Deadline(LIMIT_S))
    folder = os.path.dirname(main)
    assert os.path.basename(main) == "m.onnx"
    assert sorted(os.listdir(folder)) == ["m.data", "m.onnx", "sub"]
    with open(f"{folder}/sub/more.data", "rb") as stream:
        assert stream.read() == b"more"
    (tmp_path / "m.data").write_bytes(b"WEIGHTS")
    assert store.put_files(paths, deadline=Deadline(LIMIT_S)) != main


def test_one_file_is_put_alike_by_both_ways(store, tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(b"graph")
    one = store.put_files([path], deadline=Deadline(LIMIT_S))
    assert one == store.put_file(path, "m.onnx", deadline=Deadline(LIMIT_S))


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../up", "a/../../b", "folder/", "nul\0"])
def test_a_name_that_leads_out_is_refused(store, workdir, name):
    with pytest.raises(UsageError):
        store.put_file(b"x", name, deadline=Deadline(LIMIT_S))
    assert left(workdir) == []


def test_a_file_outside_of_the_models_folder_is_refused(store, tmp_path):
    (tmp_path / "models").mkdir()
    for path in (tmp_path / "models" / "m.onnx", tmp_path / "outside"):
        path.write_bytes(b"x")
    with pytest.raises(UsageError):
        store.put_files([tmp_path / "models" / "m.onnx", tmp_path / "outside"], deadline=Deadline(LIMIT_S))


def test_progress_counts_all_files(store, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(name.encode() * 2_000_000)
    seen = []
    paths = [tmp_path / "a", tmp_path / "b"]
    for _ in range(2):  # sent, then found there
        store.put_files(paths, deadline=Deadline(LIMIT_S), progress=lambda *p: seen.append(p))
        assert seen == sorted(seen)
        assert seen[-1] == (4_000_000, 4_000_000)


def test_home_is_asked_of_the_device_once(tmp_path):
    with FakeTransport(run_locally, root=tmp_path) as board:
        store = DeviceStore(board, "~/.edgewise")
        for name in ("a", "b"):
            path = store.put_file(b"x", name, deadline=Deadline(LIMIT_S))
            assert path.startswith(f"{tmp_path}/.edgewise/store/")
        assert sum('"$HOME"' in call[2] for call in board.calls if call[0] == "sh") == 1


def test_a_workdir_that_is_nowhere_is_a_config_error():
    with FakeTransport(lambda command: Completed(0, b"", b"")) as board:
        with pytest.raises(ConfigError, match="workdir"):
            DeviceStore(board, "~").put_file(b"x", "x", deadline=Deadline(LIMIT_S))
        with pytest.raises(ConfigError, match="workdir"):
            DeviceStore(board, "relative").put_file(b"x", "x", deadline=Deadline(LIMIT_S))


# -- concurrency


def test_the_same_model_pushed_by_many_threads_and_stores(workdir):
    data = os.urandom(3_000_000)

    def push(number):
        return DeviceStore(LocalTransport(), str(workdir)).put_file(data, "model", deadline=Deadline(60))

    with ThreadPoolExecutor(max_workers=8) as pool:
        paths = set(pool.map(push, range(8)))
    assert len(paths) == 1
    assert left(workdir) == [os.path.relpath(paths.pop(), workdir)]


def test_the_same_model_pushed_by_several_processes(workdir):
    program = f"""
from mobile.deadline import Deadline
from mobile.push import DeviceStore
from mobile.transports.local import LocalTransport
print(DeviceStore(LocalTransport(), {str(workdir)!r}).put_file(bytes(5_000_000), "model", deadline=Deadline(60)))
"""
    processes = [
        subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(3)
    ]
    outputs = [process.communicate(timeout=90) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], outputs
    assert len({stdout for stdout, _ in outputs}) == 1
    assert len(left(workdir)) == 1


def test_an_incoming_file_taken_away_under_way_is_sent_again(workdir):
    """As by `store prune --all`, or by hand, between our look and our work."""
    (workdir / "incoming").mkdir(parents=True)
    part = workdir / "incoming" / f"{sha256(b'model')}.part"
    part.write_bytes(b"mo")
    transport = Counting(lambda number: part.unlink() if number == 1 else None)
    path = DeviceStore(transport, str(workdir)).put_file(b"model", "m", deadline=Deadline(LIMIT_S))
    assert len(transport.sent) == 2
    assert left(workdir) == [os.path.relpath(path, workdir)]


def test_a_file_always_taken_away_is_an_error(workdir):
    class TakenAway(Counting):
        def run(self, argv, **options):
            done = super().run(argv, **options)
            for path in (workdir / "store").rglob("m"):
                path.write_bytes(b"other size")
            return Completed(scripts.GONE, b"", b"") if argv[2] == scripts.RECEIVE else done

    with pytest.raises(RemoteFileError, match="loses its files"):
        DeviceStore(TakenAway(), str(workdir)).put_file(b"model", "m", deadline=Deadline(LIMIT_S))


# -- failures leave nothing that is visible


def test_a_file_that_changes_while_it_is_sent_is_refused(workdir, tmp_path):
    source = tmp_path / "model"
    source.write_bytes(b"before")
    transport = Counting(lambda number: source.write_bytes(b"AFTER!"))
    with pytest.raises(RemoteFileError, match="did not arrive as it was"):
        DeviceStore(transport, str(workdir)).put_file(source, "m", deadline=Deadline(LIMIT_S))
    assert left(workdir) == []


def test_a_file_that_shrinks_while_it_is_sent_is_an_error(workdir, tmp_path):
    source = tmp_path / "model"
    source.write_bytes(b"before")
    transport = Counting(lambda number: source.write_bytes(b"less"))
    with pytest.raises(TransportError, match="shorter"):
        DeviceStore(transport, str(workdir), patience_s=0).put_file(source, "m", deadline=Deadline(LIMIT_S))
    assert [path for path in left(workdir) if not path.startswith("incoming/")] == []


@pytest.mark.parametrize("failure", [KeyboardInterrupt, TransportError("cut")])
def test_a_push_that_fails_shows_nothing_and_names_the_main_file_last(workdir, tmp_path, failure):
    def fail(number):
        if number == 2:
            raise failure

    for name in ("a", "b"):
        (tmp_path / name).write_bytes(name.encode())
    store = DeviceStore(Counting(fail), str(workdir), patience_s=0)
    with pytest.raises(type(failure) if isinstance(failure, Exception) else failure):
        store.put_files([tmp_path / "a", tmp_path / "b"], deadline=Deadline(LIMIT_S))
    assert [os.path.basename(path) for path in left(workdir)] == ["b"]


def test_too_little_space_is_said_before_anything_is_sent(workdir):
    def handler(command):
        if len(command.argv) > 2 and "df -Pk" in command.argv[2]:
            df = b"Filesystem 1024-blocks Used Available Capacity Mounted on\n/ 9 8 1 90% /\n"
            return Completed(0, b"need\n" + b"".join(b"df " + line + b"\n" for line in df.splitlines()), b"")
        return Completed(0, b"", b"")

    with FakeTransport(handler) as board, pytest.raises(NoSpaceOnDevice, match=r"5000 bytes.*1024 bytes free"):
        DeviceStore(board, "/w").put_file(bytes(5000), "m", deadline=Deadline(LIMIT_S))
    assert not any(scripts.RECEIVE in call for call in board.calls)


def test_a_read_only_workdir_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(RemoteFileError) as caught:
        DeviceStore(LocalTransport(), f"{tmp_path}/file/work").put_file(b"x", "x", deadline=Deadline(LIMIT_S))
    assert "Not a directory" in str(caught.value)


@pytest.mark.parametrize(
    ("lines", "free_bytes"),
    [
        (["Filesystem 1024-blocks Used Available Capacity Mounted on", "/dev/sda1 100 40 60 40% /"], 61440),
        (["Filesystem 1K-blocks Used Available Use% Mounted on", "map auto home 100 40 60 40% /a b"], 61440),
        (["Filesystem 1024-blocks Used Available Capacity Mounted on", "proc 0 0 0 - /proc"], None),
        (["df: not understood"], None),
        ([], None),
    ],
)
def test_what_df_says_is_read_or_passed_over(lines, free_bytes):
    assert available_bytes(lines) == free_bytes


# -- hashing with whatever the device has


@pytest.mark.parametrize("tool", ["sha256sum", "shasum", "python3"])
def test_each_hash_program_will_do(tmp_path, workdir, tool):
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sh", "wc", "df", "mkdir", "mv", "rm", "cat", "sleep", "sync", tool):
        if name == "python3":  # the one on PATH may be a script that needs more than this folder has
            (folder / name).symlink_to(sys.executable)
            continue
        found = subprocess.run(["which", name], capture_output=True, text=True, timeout=20, check=False).stdout.strip()
        if not found:
            pytest.skip(f"this machine has no {name}")
        (folder / name).symlink_to(os.path.realpath(found))

    def handler(command):
        env = {**command.env, "PATH": str(folder)}
        return LocalTransport().run(command.argv, deadline=command.deadline, stdin=command.stdin, env=env)

    with FakeTransport(handler, root=workdir) as board:
        path = DeviceStore(board, str(workdir)).put_file(b"model", "m", deadline=Deadline(LIMIT_S), recheck=True)
    with open(path, "rb") as stream:
        assert stream.read() == b"model"


def test_no_hash_program_is_a_clear_error(tmp_path, workdir):
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sh", "wc", "mkdir", "rm", "cat", "mv", "sleep"):
        found = subprocess.run(["which", name], capture_output=True, text=True, timeout=20, check=True).stdout.strip()
        (folder / name).symlink_to(os.path.realpath(found))

    def handler(command):
        env = {"PATH": str(folder)}
        return LocalTransport().run(command.argv, deadline=command.deadline, stdin=command.stdin, env=env)

    with FakeTransport(handler, root=workdir) as board, pytest.raises(RemoteFileError, match="no sha256sum"):
        DeviceStore(board, str(workdir)).put_file(b"model", "m", deadline=Deadline(LIMIT_S))


# -- agent, list, prune


def test_the_agent_is_sent_once_and_mended(workdir, monkeypatch):
    agent_zip = pytest.importorskip("mobile.agent_zip", reason="the agent's packing is not there yet").agent_zip
    transport = Counting()
    store = DeviceStore(transport, str(workdir))
    path = store.ensure_agent(deadline=Deadline(LIMIT_S))
    assert path == f"{workdir}/agents/{agent_zip().name}"
    with open(path, "r+b") as stream:
        stream.seek(10)
        stream.write(b"damage")
    assert store.ensure_agent(deadline=Deadline(LIMIT_S)) == path
    assert store.ensure_agent(deadline=Deadline(LIMIT_S)) == path
    assert len(transport.sent) == 2
    with open(path, "rb") as stream:
        assert sha256(stream.read()) == agent_zip().sha256


def test_the_store_is_listed_and_pruned(store, workdir, tmp_path):
    limit = Deadline(60)
    assert store.stored(deadline=limit) == []
    kept = store.put_file(b"kept", "kept name\n", deadline=limit)
    gone = store.put_file(b"gone!", "gone", deadline=limit)
    listed = store.stored(deadline=limit)
    assert {(file.path, file.name, file.size_bytes) for file in listed} == {
        (kept, "kept name\n", 4),
        (gone, "gone", 5),
    }
    assert {file.address for file in listed} == {sha256(b"kept"), sha256(b"gone!")}
    assert store.prune(deadline=limit, keep={sha256(b"kept")}) == 5
    assert [file.path for file in store.stored(deadline=limit)] == [kept]
    assert not os.path.exists(os.path.dirname(os.path.dirname(gone)))
    assert store.prune(deadline=limit) == 4
    assert left(workdir) == []


def test_prune_takes_what_old_pushes_left_and_spares_those_under_way(store, workdir):
    store.put_file(b"x", "x", deadline=Deadline(LIMIT_S))
    for name, age_s in (("old", 3 * 86400), ("new", 10)):
        path = workdir / "incoming" / name
        path.write_bytes(b"")
        stamp = path.stat().st_mtime - age_s
        os.utime(path, (stamp, stamp))
    store.prune(deadline=Deadline(LIMIT_S))
    assert left(workdir) == ["incoming/new"]


def test_remove_all_leaves_no_trace_of_ours_and_all_of_others(store, workdir):
    store.put_file(b"x", "x", deadline=Deadline(LIMIT_S))
    (workdir / "mine").write_bytes(b"")
    store.remove_all(deadline=Deadline(LIMIT_S))
    assert left(workdir) == ["mine"]
    (workdir / "mine").unlink()
    store.put_file(b"x", "x", deadline=Deadline(LIMIT_S))
    store.remove_all(deadline=Deadline(LIMIT_S))
    assert not workdir.exists()


def test_threads_share_one_store(store):
    errors = []

    def push(number):
        try:
            store.put_file(b"%d" % number, "m", deadline=Deadline(60))
        except EdgewiseError as error:
            errors.append(error)

    threads = [threading.Thread(target=push, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(90)
    assert errors == []
    assert len(store.stored(deadline=Deadline(LIMIT_S))) == 8
