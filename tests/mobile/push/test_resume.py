"""Pushes that are cut, variants that share weights, leftovers that are damaged: what is sent, and what is shown."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from mobile.deadline import Deadline
from mobile.errors import NoSpaceOnDevice, RemoteFileError, TransportError
from mobile.formats.chunks import TARGET_BYTES
from mobile.push import DeviceStore, scripts, transfer
from mobile.push.content import content, contents
from mobile.transports.base import Completed
from mobile.transports.fake import FakeTransport, run_locally
from tests.support.pushing import Watched
from tests.support.weights import random_weights, save_weights

LIMIT_S = 60
MIB = 1024 * 1024
LARGEST_CHUNK = 2 * TARGET_BYTES
# Shells and toolboxes that a device may have; a dash is every other test's.
TOOLBOXES = {"bash": ["bash"], "busybox": ["busybox", "sh"], "mksh": ["mksh"]}


@pytest.fixture
def workdir(tmp_path):
    return tmp_path / "work dir"


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr(transfer, "_PAUSES_S", (0.01,))


@pytest.fixture
def data():
    return random.Random(3).randbytes(9 * MIB + 12345)


def deadline():
    return Deadline(LIMIT_S)


def push(transport, workdir, source, name="m", **options):
    return DeviceStore(transport, str(workdir), **options).push([content(source, name)], deadline=deadline())


def visible(workdir):
    """Files that a user of the store sees, by their name."""
    return {
        path.name: path.read_bytes()
        for path in (workdir / "store").rglob("*")
        if path.is_file() and path.name[0] != "."
    }


def incoming(workdir):
    return sorted(path.name.partition(".")[2] for path in (workdir / "incoming").iterdir())


# -- cuts


@pytest.mark.parametrize("cut_after", [1, 300_000, 5 * MIB, 9 * MIB])
def test_a_cut_push_is_gone_on_with_by_another(workdir, data, cut_after):
    first = Watched(cut_after=cut_after)
    with pytest.raises(TransportError, match="broke"):
        push(first, workdir, data, patience_s=0)
    assert visible(workdir) == {}
    second = Watched()
    pushed = push(second, workdir, data)
    assert visible(workdir) == {"m": data}
    assert incoming(workdir) == []
    assert pushed.kept_bytes + pushed.sent_bytes == len(data)
    assert second.streamed_bytes == len(data) - pushed.kept_bytes
    assert pushed.kept_bytes > cut_after - LARGEST_CHUNK


def test_a_push_survives_cuts_by_itself(workdir, data):
    transport = Watched(cut_after=4 * MIB)
    pushed = push(transport, workdir, data)
    assert pushed.resumes == 1
    assert transport.streamed_bytes <= len(data) + LARGEST_CHUNK
    assert visible(workdir) == {"m": data}


def test_a_link_that_stays_broken_ends_the_push_with_its_error(workdir, data):
    class Dead(Watched):
        def run(self, argv, **options):
            if self.passes:
                raise TransportError("no route")
            return super().run(argv, **options)

    transport = Dead(cut_after=MIB)
    with pytest.raises(TransportError, match="no route"):
        push(transport, workdir, data, patience_s=0.2)
    assert visible(workdir) == {}


def test_progress_never_goes_back(workdir, data):
    seen = []
    store = DeviceStore(Watched(cut_after=5 * MIB), str(workdir))
    store.push([content(data, "m")], deadline=deadline(), progress=lambda *step: seen.append(step))
    assert seen == sorted(set(seen))
    assert seen[-1] == (len(data), len(data))


def test_a_stop_ends_a_push_that_waits(workdir, data):
    stop = threading.Event()
    store = DeviceStore(Watched(), str(workdir), stop=stop)
    with pytest.raises(TransportError, match="stopped"):
        store.push([content(data, "m")], deadline=deadline(), progress=lambda done, _: done and stop.set())
    assert visible(workdir) == {}


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGTERM])
def test_a_host_that_is_killed_leaves_a_push_to_go_on_with(workdir, data, tmp_path, signal_number):
    (tmp_path / "m").write_bytes(data)
    program = f"""
import time
from pathlib import Path
from mobile.deadline import Deadline
from mobile.push import DeviceStore
from mobile.transports.local import LocalTransport
def slowly(done, size):
    print(done, flush=True)
    time.sleep(0.02)
DeviceStore(LocalTransport(), {str(workdir)!r}).put_file(
    Path({str(tmp_path / "m")!r}), "m", deadline=Deadline(60), progress=slowly)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            while int(child.stdout.readline()) < 3 * MIB:
                pass
        finally:
            child.send_signal(signal_number)
        child.stdout.read()
    second = Watched()
    pushed = push(second, workdir, data)
    assert visible(workdir) == {"m": data}
    assert pushed.kept_bytes >= 3 * MIB - LARGEST_CHUNK - MIB  # what was in the pipe is lost, too
    assert incoming(workdir) == []


# -- who works on an incoming file


def stuck(workdir, data, count):
    """A push whose link is gone without the device's knowledge: its command waits for the rest for ever."""
    got = content(data, "m")
    arguments = [
        f"{workdir}/incoming", got.sha256, "0", "0", str(len(data)), f"{workdir}/store/m", "raw", "1", "", "-", "0",
        "1", str(len(data)), str(len(data)),
    ]  # fmt: skip
    (workdir / "incoming").mkdir(parents=True)
    child = subprocess.Popen(
        ["sh", "-c", scripts.RECEIVE, "sh", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert child.stdout is not None and child.stdin is not None
    assert child.stdout.readline().startswith(b"owner ")
    child.stdin.write(data[:count])
    child.stdin.flush()
    end = time.monotonic() + LIMIT_S
    while sum(path.stat().st_size for path in (workdir / "incoming").iterdir()) < count:
        assert time.monotonic() < end
        time.sleep(0.01)
    return child


def ended(child):
    child.wait(LIMIT_S)
    child.stdin.close()
    child.stdout.close()


def test_a_stuck_push_is_ended_and_gone_on_with(workdir, data, monkeypatch):
    monkeypatch.setattr(transfer, "STALL_S", 0.5)
    child = stuck(workdir, data, 3 * MIB)
    pushed = push(Watched(), workdir, data)
    ended(child)
    assert pushed.kept_bytes > 3 * MIB - LARGEST_CHUNK
    assert visible(workdir) == {"m": data}


def test_a_push_that_moves_is_waited_for(workdir, data):
    child = stuck(workdir, data, 3 * MIB)
    target = workdir / "store" / "m"

    def go_on():
        for start in range(3 * MIB, len(data), MIB):
            time.sleep(0.05)
            child.stdin.write(data[start : start + MIB])
        child.stdin.close()

    thread = threading.Thread(target=go_on)
    thread.start()
    pushed = push(Watched(), workdir, data)
    thread.join()
    child.wait(LIMIT_S)
    child.stdout.close()
    assert target.read_bytes() == data
    assert visible(workdir) == {"m": data}
    assert pushed.sent_bytes == len(data)  # that one stored it elsewhere


def test_what_a_dead_push_left_is_taken_and_a_number_used_again_is_not_mistaken_for_it(workdir, data):
    child = stuck(workdir, data, 3 * MIB)
    (path,) = (workdir / "incoming").iterdir()
    os.killpg(child.pid, signal.SIGKILL)
    ended(child)
    # The same numbers, but another time of start: that process is not ours to end.
    sha256, owner = path.name.split(".")
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as other:
        try:
            start_boot = owner.split("-")[2:]
            path.rename(path.with_name(f"{sha256}.{other.pid}-{other.pid}-{'-'.join(start_boot)}"))
            pushed = push(Watched(), workdir, data)
            assert other.poll() is None
        finally:
            other.kill()
    assert pushed.kept_bytes > 3 * MIB - LARGEST_CHUNK
    assert visible(workdir) == {"m": data}


def test_a_push_before_the_last_boot_is_dead(workdir, data):
    child = stuck(workdir, data, 3 * MIB)
    (path,) = (workdir / "incoming").iterdir()
    path.rename(path.with_name(path.name.rpartition("-")[0] + "-0123abcd"))
    pushed = push(Watched(), workdir, data)
    os.killpg(child.pid, signal.SIGKILL)
    ended(child)
    assert pushed.kept_bytes > 3 * MIB - LARGEST_CHUNK
    assert visible(workdir) == {"m": data}


# -- damage


@pytest.mark.parametrize("damage", ["tail", "middle", "start", "longer", "shorter"])
def test_only_what_is_whole_is_kept(workdir, data, damage):
    half = bytearray(data[: 5 * MIB])
    position = {"tail": 5 * MIB - 1, "middle": 2 * MIB + 100, "start": 7}.get(damage)
    if position is not None:
        half[position] ^= 1
    if damage == "longer":
        half = bytearray(data + b"more")
    if damage == "shorter":
        half = half[:100]
    (workdir / "incoming").mkdir(parents=True)
    (workdir / "incoming" / f"{hashlib.sha256(data).hexdigest()}.part").write_bytes(half)
    pushed = push(Watched(), workdir, data)
    assert visible(workdir) == {"m": data}
    good = position if position is not None else min(len(half), len(data))
    assert good - LARGEST_CHUNK < pushed.kept_bytes <= good


def test_a_damaged_artifact_is_not_copied_from_in_the_end(workdir, data):
    path = Path(push(Watched(), workdir, data).path)
    with path.open("r+b") as stream:
        stream.seek(4 * MIB)
        stream.write(b"damage")
    variant = data[: 6 * MIB] + b"changed" + data[6 * MIB + 7 :]
    pushed = push(Watched(), workdir, variant, "variant")
    assert visible(workdir)["variant"] == variant
    assert pushed.kept_bytes >= 3 * MIB  # the good part of what was copied


def test_an_artifact_that_goes_while_it_is_copied_from(workdir, data):
    path = Path(push(Watched(), workdir, data).path)
    variant = data + b"more" * MIB

    class Pruned(Watched):
        def run(self, argv, **options):
            if argv[2] == scripts.RECEIVE and path.exists():
                path.unlink()
            return super().run(argv, **options)

    push(Pruned(), workdir, variant, "variant")
    assert visible(workdir) == {"variant": variant}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"v":2}', '{"v":1,"files":[["m",1,[["x",2]]]]}', '{"v":1,"files":7}'])
def test_a_chunk_index_that_cannot_be_read_is_passed_over(workdir, data, text):
    push(Watched(), workdir, data)
    for path in (workdir / "store").rglob(scripts.INDEX_NAME):
        path.write_text(text)
    pushed = push(Watched(), workdir, data + b"x", "variant")
    assert pushed.copied_bytes == 0
    assert visible(workdir)["variant"] == data + b"x"


def test_a_wrong_chunk_index_costs_time_and_nothing_else(workdir, data):
    push(Watched(), workdir, data)
    (path,) = (workdir / "store").rglob(scripts.INDEX_NAME)
    path.write_text(path.read_text().replace('"files":[["m"', '"files":[["m",1,[[1000,"0"]]],["m"'))
    text = path.read_text().replace('"m"', '"../../../../other"')
    path.write_text(text)
    push(Watched(), workdir, data + b"x", "variant")
    assert visible(workdir)["variant"] == data + b"x"


# -- variants


def test_a_variant_sends_what_changed(workdir, tmp_path):
    weights = random_weights((400_000,) * 12)
    names = []
    for number in range(3):
        folder = tmp_path / str(number)
        folder.mkdir()
        names.append(save_weights(folder / "model.onnx", weights))
        weights = list(weights)
        weights[5] = weights[5] + np.float32(1)
        if number == 1:
            weights[2] = weights[2] * np.float32(2)
    store = DeviceStore(Watched(), str(workdir))
    sent = [store.push(contents([name]), deadline=deadline()).sent_bytes for name in names]
    assert sent[0] == names[0].stat().st_size
    assert sent[1] <= 1.05 * weights[5].nbytes
    assert sent[2] <= 1.05 * 2 * weights[5].nbytes
    assert len(visible(workdir)) == 1
    kept = {path.read_bytes() for path in (workdir / "store").rglob("model.onnx")}
    assert kept == {name.read_bytes() for name in names}


def test_a_variant_is_cut_and_gone_on_with(workdir, data):
    push(Watched(), workdir, data)
    variant = data[: 2 * MIB] + os.urandom(3 * MIB) + data[5 * MIB :]
    with pytest.raises(TransportError):
        push(Watched(cut_after=2 * MIB), workdir, variant, "variant", patience_s=0)
    assert set(visible(workdir)) == {"m"}
    pushed = push(Watched(), workdir, variant, "variant")
    assert visible(workdir) == {"m": data, "variant": variant}
    assert pushed.sent_bytes <= MIB + 2 * LARGEST_CHUNK
    assert pushed.kept_bytes + pushed.copied_bytes + pushed.sent_bytes == len(variant)


def test_a_moved_tensor_is_found_again(workdir, tmp_path):
    weights = random_weights((1_500_000,) * 3)
    paths = [save_weights(tmp_path / name, values) for name, values in (("a", weights), ("b", weights[::-1]))]
    store = DeviceStore(Watched(), str(workdir))
    store.push(contents([paths[0]]), deadline=deadline())
    pushed = store.push(contents([paths[1]]), deadline=deadline())
    assert pushed.sent_bytes < 0.5 * pushed.size_bytes


def test_external_data_is_a_source_too(workdir, tmp_path):
    weights = random_weights((500_000,) * 4)
    first = save_weights(tmp_path / "one.onnx", weights, external=True)
    weights[1] = weights[1] + 1
    (tmp_path / "two").mkdir()
    second = save_weights(tmp_path / "two" / "one.onnx", weights, external=True)
    store = DeviceStore(Watched(), str(workdir))
    for path, most in ((first, 10 * MIB), (second, 2.2 * MIB)):
        pushed = store.push(contents([path, path.with_name("one.onnx.data")]), deadline=deadline())
        assert pushed.sent_bytes <= most
        assert Path(pushed.path).with_name("one.onnx.data").read_bytes() == path.with_name("one.onnx.data").read_bytes()


def test_a_long_index_travels_as_a_file(workdir, data, monkeypatch):
    monkeypatch.setattr(transfer, "INDEX_ARGUMENT_BYTES", 100)
    push(Watched(), workdir, data)
    pushed = push(Watched(), workdir, data + b"x", "variant")
    assert pushed.copied_bytes == 8 * MIB


def test_old_artifacts_go_with_their_index(workdir, data):
    store = DeviceStore(Watched(), str(workdir))
    store.put_file(data, "m", deadline=deadline())
    assert [file.name for file in store.stored(deadline=deadline())] == ["m"]
    store.prune(deadline=deadline())
    assert [path for path in (workdir / "store").rglob("*") if path.is_file()] == []


# -- compression


def compressible(size_bytes):
    return bytes(random.Random(4).choices(b"edge", k=size_bytes // 2)) + random.Random(5).randbytes(size_bytes // 2)


def test_what_shrinks_is_packed_and_the_rest_is_stored(workdir):
    data = compressible(8 * MIB)
    transport = Watched()
    pushed = push(transport, workdir, data)
    assert visible(workdir) == {"m": data}
    assert transport.streamed_bytes < 0.7 * len(data)
    assert pushed.wire_bytes < 0.7 * len(data)
    assert pushed.sent_bytes == len(data)


def test_a_packed_push_is_cut_and_gone_on_with(workdir):
    data = compressible(8 * MIB)
    with pytest.raises(TransportError):
        push(Watched(cut_after=3 * MIB), workdir, data, patience_s=0)
    pushed = push(Watched(), workdir, data)
    assert pushed.kept_bytes > 3 * MIB
    assert visible(workdir) == {"m": data}


# -- devices that lack tools


def tools(folder, *names):
    folder.mkdir()
    for name in names:
        found = shutil.which(name)
        if found:
            (folder / name).symlink_to(os.path.realpath(found))
    return {"PATH": str(folder)}


POSIX = (
    "sh",
    "cat",
    "wc",
    "mkdir",
    "mv",
    "rm",
    "ls",
    "df",
    "head",
    "tail",
    "sleep",
    "sha256sum",
    "sync",
    "find",
    "kill",
)


def test_neither_dd_nor_truncate_nor_gunzip(workdir, tmp_path, data):
    env = tools(tmp_path / "bin", *POSIX)
    with pytest.raises(TransportError):
        push(Watched(cut_after=4 * MIB + 100, env=env), workdir, data, patience_s=0)
    push(Watched(env=env), workdir, data)
    variant = bytes(3 * MIB) + data[: 4 * MIB] + b"x" + data[4 * MIB :]
    pushed = push(Watched(env=env), workdir, variant, "variant")
    assert visible(workdir) == {"m": data, "variant": variant}
    assert pushed.wire_bytes == pushed.sent_bytes


def test_a_gunzip_that_fails_is_done_without(workdir, tmp_path):
    env = tools(tmp_path / "bin", *POSIX, "dd")
    (tmp_path / "bin" / "gzip").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "bin" / "gzip").chmod(0o755)
    data = compressible(4 * MIB)
    push(Watched(env=env), workdir, data)
    assert visible(workdir) == {"m": data}


@pytest.mark.parametrize("name", TOOLBOXES)
def test_each_shell_will_do(workdir, tmp_path, data, name):
    words = TOOLBOXES[name]
    if not shutil.which(words[0]):
        pytest.skip(f"this machine has no {words[0]}")

    with pytest.raises(TransportError):
        push(Watched(shell=words, cut_after=4 * MIB + 100), workdir, data, patience_s=0)
    assert push(Watched(shell=words), workdir, data).kept_bytes > 2 * MIB
    push(Watched(shell=words), workdir, compressible(4 * MIB) + data, "variant")
    assert visible(workdir) == {"m": data, "variant": compressible(4 * MIB) + data}


# -- full and odd devices


def test_a_disk_that_fills_up_under_way_is_said_and_gone_on_with(workdir, data):
    class Full(Watched):
        """As if the file system were full after 3 MiB: the shell's own limit on files gives the same refusal."""

        def run(self, argv, **options):
            if argv[2] == scripts.RECEIVE:
                limit = f"ulimit -f {3 * MIB // 512}; trap '' XFSZ; {argv[2]}"
                done = super().run([*argv[:2], limit, *argv[3:]], **options)
                words = done.stderr.replace(b"File too large", b"No space left on device")
                return Completed(done.exit_code, done.stdout, words, done.signal)
            return super().run(argv, **options)

    with pytest.raises(NoSpaceOnDevice):
        push(Full(), workdir, data)
    assert visible(workdir) == {}
    pushed = push(Watched(), workdir, data)
    assert pushed.kept_bytes > 3 * MIB - LARGEST_CHUNK
    assert visible(workdir) == {"m": data}


def test_a_store_that_answers_nonsense_is_an_error(workdir):
    for stdout in (b"", b"have\nhave\n", b"hello\n", b"\xff\n" * 100):
        board = FakeTransport(lambda command, stdout=stdout: Completed(0, stdout, b""))
        with board, pytest.raises(TransportError, match="not an answer"):
            DeviceStore(board, "/w", patience_s=0).put_file(b"x", "x", deadline=deadline())


def test_through_a_transport_whose_link_breaks(tmp_path, data):
    with FakeTransport(run_locally, root=tmp_path / "board") as board:
        board.faults.cut_after_bytes = 5 * MIB
        store = DeviceStore(board, str(board.root / "work"), patience_s=0)
        with pytest.raises(TransportError):
            store.put_file(data, "m", deadline=deadline())
        board.faults.cut_after_bytes = None
        pushed = store.push([content(data, "m")], deadline=deadline())
        assert pushed.kept_bytes > 2 * MIB
        assert Path(pushed.path).read_bytes() == data


def test_an_empty_file_is_stored(workdir):
    assert push(Watched(), workdir, b"").sent_bytes == 0
    assert visible(workdir) == {"m": b""}


def test_an_artifact_that_always_arrives_damaged_is_an_error(workdir, data):
    class Damaging(Watched):
        def _counted(self, stdin):
            for piece in super()._counted(stdin):
                yield bytes([piece[0] ^ 1]) + piece[1:]

    with pytest.raises(RemoteFileError, match="did not arrive as it was"):
        push(Damaging(), workdir, data)
    assert visible(workdir) == {}
    assert incoming(workdir) == []
