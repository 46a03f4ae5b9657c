"""What every transport must do. A new one joins with one fixture::

    from tests.contracts.transport import Board, TransportContract

    class TestMine(TransportContract):
        @pytest.fixture
        def board(self, tmp_path):
            return Board(open=MyTransport, folder=str(tmp_path))

Commands here use only what a phone's toybox and mksh have as well.
"""

from __future__ import annotations

import io
import os
import secrets
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from mobile.deadline import Deadline
from mobile.errors import DeadlineExceeded, NoSpaceOnDevice, RemoteFileError, TransportError, UsageError
from mobile.transports.base import Transport

MIB = 1024 * 1024
ODD_NAMES = [
    "with space",
    "quote'single",
    'quote"double',
    "new\nline",
    "tab\tand\rreturn",
    "$HOME `id` $(id)",
    "back\\slash\\n",
    "-dash",
    "star*?[a]",
    "ümläut-漢字-🙂",
    "semi;colon&and|pipe",
    "comma,0644",
    "trailing ",
    os.fsdecode(b"not-utf8-\xff\xfe\x80"),
    "x" * 200,
]
ODD_VALUES = ["", " ", "a b", "it's", 'say "hi"', "two\nlines\n", "$HOME", "back\\slash", "ünï", os.fsdecode(b"\xff")]
ALL_ODD = os.fsdecode(b'- it\'s "odd"\n\t$HOME `id` $(id) \\n*?[a];&|,0644 \xc3\xbc\xff ')


@dataclass
class Board:
    """One device under test: how a connection to it is opened, and an empty folder on it (made if it is missing)."""

    open: Callable[[], Transport]
    folder: str
    limit_s: float = 30.0  # for an operation that should succeed
    pace_s: float = 2.0  # by then a command has started and written its first line
    tells_signals: bool = True  # False where a signal can only be seen as exit code 128 + number
    small_folder: str | None = None  # a folder on a file system with less than 16 MiB free
    utf8_names_only: bool = sys.platform == "darwin"  # APFS refuses other names


def sh(transport, script, *arguments, limit_s=30.0, **options):
    """A shell script's Completed on the device."""
    return transport.run(["sh", "-c", script, "sh", *arguments], deadline=Deadline(limit_s), **options)


def read(transport, path, limit_s=60.0):
    """A file's bytes."""
    target = io.BytesIO()
    assert transport.get(path, target, deadline=Deadline(limit_s)) == len(target.getvalue())
    return target.getvalue()


def names(transport, folder):
    """Everything in a folder, hidden files too."""
    return sorted(os.fsdecode(sh(transport, 'ls -1A "$1" 2>/dev/null; :', folder).stdout).splitlines())


def alive(transport, pid):
    """Whether a process of the device runs; a zombie does not."""
    script = """kill -0 "$1" 2>/dev/null || exit 1
    [ -r "/proc/$1/stat" ] || exit 0
    read -r _ _ state _ <"/proc/$1/stat" && [ "$state" != Z ]"""
    return sh(transport, script, str(pid)).ok


def assert_all_end(transport, pids, limit_s=15.0):
    """Fails when one of the processes is still there after a while."""
    assert pids
    end = Deadline(limit_s)
    left = list(pids)
    while left and not end.expired():
        left = [pid for pid in left if alive(transport, pid)]
        if left:
            time.sleep(0.05)
    assert left == []


class Interrupt(Exception):
    """Raised by a test's own callback."""


class TransportContract:
    """The suite. Subclasses give the fixture ``board``."""

    LARGE_BYTES = 4 * MIB  # more than any pipe or window on the way holds

    @pytest.fixture
    def board(self):
        raise NotImplementedError

    @pytest.fixture
    def transport(self, board):
        transport = board.open()
        yield transport
        transport.close()

    @pytest.fixture
    def folder(self, board, transport):
        sh(transport, 'mkdir -p "$1"', board.folder, limit_s=board.limit_s)
        return board.folder

    # -- what it is

    def test_it_is_a_transport_that_says_who_and_what_it_is(self, transport):
        assert isinstance(transport, Transport)
        assert transport.name
        assert transport.provenance in ("real", "emulated", "slowed", "replayed")

    # -- bytes

    @pytest.mark.parametrize("size", [0, 1, 65535, 65536, MIB, 64 * MIB + 1])
    def test_bytes_come_back_equal(self, transport, folder, board, size):
        data = secrets.token_bytes(min(size, 4 * MIB)) * max(1, -(-size // (4 * MIB)))
        data = data[:size]
        transport.put(data, f"{folder}/file", deadline=Deadline(board.limit_s))
        assert read(transport, f"{folder}/file") == data

    @pytest.mark.slow
    @pytest.mark.timeout(600)
    def test_a_gibibyte_comes_back_equal(self, transport, folder, tmp_path):
        source = tmp_path / "zeros"
        with source.open("wb") as stream:
            stream.truncate(1024 * MIB)
        seen = [0, 0]

        class Zeros(io.RawIOBase):
            def write(self, data):
                seen[0] += len(data)
                seen[1] += data.count(0)
                return len(data)

        transport.put(source, f"{folder}/zeros", deadline=Deadline(300))
        assert transport.get(f"{folder}/zeros", Zeros(), deadline=Deadline(300)) == 1024 * MIB
        assert seen == [1024 * MIB, 1024 * MIB]

    def test_a_path_is_put_like_its_bytes(self, transport, folder, tmp_path, board):
        source = tmp_path / "source"
        source.write_bytes(b"from a file")
        transport.put(source, f"{folder}/file", deadline=Deadline(board.limit_s))
        assert read(transport, f"{folder}/file") == b"from a file"

    def test_a_source_that_is_not_there_is_a_usage_error(self, transport, folder, tmp_path, board):
        for source in (tmp_path / "missing", tmp_path):
            with pytest.raises(UsageError):
                transport.put(source, f"{folder}/file", deadline=Deadline(board.limit_s))
        assert names(transport, folder) == []

    def test_parent_folders_are_made(self, transport, folder, board):
        transport.put(b"deep", f"{folder}/a/b c/d", deadline=Deadline(board.limit_s))
        assert read(transport, f"{folder}/a/b c/d") == b"deep"

    def test_the_mode_is_set(self, transport, folder, board):
        script = f"{folder}/run me"
        transport.put(b"#!/bin/sh\necho ran\n", script, deadline=Deadline(board.limit_s), mode=0o755)
        assert transport.run([script], deadline=Deadline(board.limit_s)).stdout == b"ran\n"

    def test_an_older_file_is_replaced(self, transport, folder, board):
        for data in (b"a longer first version", b"second"):
            transport.put(data, f"{folder}/file", deadline=Deadline(board.limit_s))
        assert read(transport, f"{folder}/file") == b"second"
        assert names(transport, folder) == ["file"]

    def test_progress_grows_to_the_whole(self, transport, folder, board):
        put, got = [], []
        size = 3 * MIB + 1
        transport.put(
            bytes(size), f"{folder}/file", deadline=Deadline(board.limit_s), progress=lambda *p: put.append(p)
        )
        transport.get(
            f"{folder}/file", io.BytesIO(), deadline=Deadline(board.limit_s), progress=lambda *p: got.append(p)
        )
        for seen in (put, got):
            assert seen == sorted(seen)
            assert seen[-1] == (size, size)

    @pytest.mark.parametrize("name", ODD_NAMES, ids=ascii)
    def test_odd_names_are_only_names(self, transport, folder, board, name):
        if board.utf8_names_only and "\udcff" in name:
            pytest.skip("this file system refuses names that are not UTF-8")
        path = f"{folder}/{name}"
        transport.put(b"content", path, deadline=Deadline(board.limit_s))
        assert read(transport, path) == b"content"
        assert transport.run(["cat", path], deadline=Deadline(board.limit_s)).stdout == b"content"

    # -- refusals

    def test_a_missing_file_cannot_be_got(self, transport, folder, board):
        for path in (f"{folder}/missing", folder):
            target = io.BytesIO()
            with pytest.raises(RemoteFileError) as caught:
                transport.get(path, target, deadline=Deadline(board.limit_s))
            assert caught.value.path == path
            assert target.getvalue() == b""

    def test_a_refused_put_leaves_nothing(self, transport, folder, board):
        transport.put(b"a file", f"{folder}/file", deadline=Deadline(board.limit_s))
        sh(transport, 'mkdir "$1/folder"', folder)
        for target in (f"{folder}/file/below", f"{folder}/folder"):
            with pytest.raises(RemoteFileError):
                transport.put(b"new", target, deadline=Deadline(board.limit_s))
        assert names(transport, folder) == ["file", "folder"]
        assert names(transport, f"{folder}/folder") == []

    @pytest.mark.parametrize("old", [None, b"the old file"])
    def test_an_interrupted_put_leaves_the_old_file_and_nothing_else(self, transport, folder, board, old):
        if old is not None:
            transport.put(old, f"{folder}/file", deadline=Deadline(board.limit_s))

        def progress(done_bytes, size_bytes):
            if done_bytes >= 2 * MIB:
                raise Interrupt

        with pytest.raises(Interrupt):
            transport.put(bytes(8 * MIB), f"{folder}/file", deadline=Deadline(board.limit_s), progress=progress)
        assert names(transport, folder) == ([] if old is None else ["file"])
        if old is not None:
            assert read(transport, f"{folder}/file") == old

    def test_a_put_or_get_past_its_deadline_leaves_nothing(self, transport, folder):
        with pytest.raises(DeadlineExceeded):
            transport.put(b"late", f"{folder}/file", deadline=Deadline(0))
        with pytest.raises(DeadlineExceeded):
            transport.get(f"{folder}/file", io.BytesIO(), deadline=Deadline(0))
        assert names(transport, folder) == []

    def test_a_full_file_system_is_named(self, transport, board):
        if board.small_folder is None:
            pytest.skip("this board has no small file system")
        with pytest.raises(NoSpaceOnDevice) as caught:
            transport.put(bytes(32 * MIB), f"{board.small_folder}/file", deadline=Deadline(board.limit_s))
        assert caught.value.path == f"{board.small_folder}/file"
        assert names(transport, board.small_folder) == []

    def test_an_exception_of_the_callers_file_goes_on(self, transport, folder, board):
        transport.put(bytes(MIB), f"{folder}/file", deadline=Deadline(board.limit_s))

        class Full(io.RawIOBase):
            def write(self, data):
                raise Interrupt

        with pytest.raises(Interrupt):
            transport.get(f"{folder}/file", Full(), deadline=Deadline(board.limit_s))

    # -- commands

    @pytest.mark.parametrize("code", [0, 1, 2, 126, 127, 128, 255])
    def test_the_exit_code_is_the_commands(self, transport, code):
        done = sh(transport, f"echo out; echo err >&2; exit {code}")
        assert (done.exit_code, done.signal) == (code, None)
        assert (done.stdout, done.stderr) == (b"out\n", b"err\n")
        assert done.ok == (code == 0)

    def test_a_missing_program_is_127(self, transport, folder, board):
        for program in ("no-such-program-here", f"{folder}/missing"):
            done = transport.run([program], deadline=Deadline(board.limit_s))
            assert done.exit_code == 127
            assert program.encode() in done.stderr

    def test_a_file_that_may_not_be_run_is_126(self, transport, folder, board):
        transport.put(b"not a program", f"{folder}/file", deadline=Deadline(board.limit_s), mode=0o644)
        done = transport.run([f"{folder}/file"], deadline=Deadline(board.limit_s))
        assert done.exit_code == 126
        assert done.stderr

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV])
    def test_a_signal_is_told(self, transport, board, number):
        done = sh(transport, f"echo out; kill -{int(number)} $$; sleep 5")
        assert done.stdout == b"out\n"
        if board.tells_signals:
            assert (done.exit_code, done.signal) == (None, number)
        else:
            assert done.exit_code == 128 + number

    def test_arguments_arrive_as_they_are(self, transport, board):
        arguments = [*ODD_NAMES, *ODD_VALUES]
        done = transport.run(["printf", "%s|\n", *arguments], deadline=Deadline(board.limit_s))
        assert done.stdout == b"".join(os.fsencode(argument) + b"|\n" for argument in arguments)

    @pytest.mark.parametrize("value", ODD_VALUES, ids=ascii)
    def test_the_environment_arrives_as_it_is(self, transport, value):
        done = sh(transport, 'printf "%s|" "$ODD"', env={"ODD": value})
        assert done.stdout == os.fsencode(value) + b"|"

    def test_bad_commands_are_usage_errors(self, transport, board):
        limit = Deadline(board.limit_s)
        for argv in ([], "echo hi", ["echo", "nul\0"]):
            with pytest.raises(UsageError):
                transport.run(argv, deadline=limit)
        for env in ({"A=B": "c"}, {"": "c"}, {"A": "nul\0"}):
            with pytest.raises(UsageError):
                transport.run(["true"], deadline=limit, env=env)

    # -- streams

    def test_both_streams_come_apart_and_whole(self, transport):
        script = 'yes e | head -c "$1" >&2 & yes o | head -c "$1"; wait'
        done = sh(transport, script, str(self.LARGE_BYTES), limit_s=60)
        assert done.ok
        assert done.stdout == b"o\n" * (self.LARGE_BYTES // 2)
        assert done.stderr == b"e\n" * (self.LARGE_BYTES // 2)

    def test_all_bytes_pass_both_ways(self, transport, board):
        data = bytes(range(256)) * 3 + b"\r\n\n\r\x04\x00end"
        assert transport.run(["cat"], stdin=data, deadline=Deadline(board.limit_s)).stdout == data

    def test_a_large_input_goes_round(self, transport):
        data = secrets.token_bytes(self.LARGE_BYTES) * 2
        done = transport.run(["cat"], stdin=data, deadline=Deadline(60))
        assert done.ok
        assert done.stdout == data

    def test_an_input_may_come_in_pieces(self, transport, board):
        pieces = (bytes([number]) * size for number, size in enumerate((1, 0, 300_000, 7, MIB)))
        done = transport.run(["cat"], stdin=pieces, deadline=Deadline(board.limit_s))
        assert done.stdout == b"\0" + b"\2" * 300_000 + b"\3" * 7 + b"\4" * MIB

    def test_an_error_of_the_input_ends_the_command(self, transport, board):
        def pieces():
            yield b"some"
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            transport.run(["cat"], stdin=pieces(), deadline=Deadline(board.limit_s))

    def test_an_input_that_is_not_read_does_not_matter(self, transport, board):
        done = sh(transport, "exec head -c 1", stdin=b"x" * (8 * MIB), limit_s=board.limit_s)
        assert (done.exit_code, done.stdout) == (0, b"x")
        assert sh(transport, "exit 3", stdin=b"x" * (8 * MIB), limit_s=board.limit_s).exit_code == 3

    def test_without_input_the_command_sees_its_end(self, transport, board):
        assert transport.run(["cat"], deadline=Deadline(board.limit_s)).stdout == b""

    def test_output_is_handed_over_as_it_comes(self, transport, folder, board):
        """The command waits for a file that is put only when its first line has been handed over."""
        seen = []

        def on_stdout(data):
            if not seen:
                transport.put(b"", f"{folder}/go", deadline=Deadline(board.limit_s))
            seen.append(data)

        script = 'echo first; while [ ! -e "$1" ]; do sleep 0.05; done; echo second; echo third'
        done = sh(transport, script, f"{folder}/go", on_stdout=on_stdout, limit_s=board.limit_s)
        assert done.ok
        assert done.stdout == b""
        assert b"".join(seen) == b"first\nsecond\nthird\n"

    def test_much_output_is_handed_over_in_order(self, transport):
        seen = []
        script = "i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done; exit 7"
        done = sh(transport, script, on_stdout=seen.append, limit_s=60)
        assert done.exit_code == 7
        assert b"".join(seen) == b"".join(b"line %d\n" % number for number in range(2000))

    def test_output_over_the_limit_ends_the_command(self, transport):
        with pytest.raises(TransportError) as caught:
            sh(transport, "while :; do echo too much; done", output_limit_bytes=100_000)
        assert not isinstance(caught.value, DeadlineExceeded)
        assert "100000" in str(caught.value)
        assert sh(transport, "echo fine", output_limit_bytes=100_000).stdout == b"fine\n"

    # -- ends

    SPAWN = 'sleep 300 & echo "$$ $!"; sleep 300'

    def test_a_deadline_ends_the_command_and_its_children(self, transport, board):
        seen = []
        with pytest.raises(DeadlineExceeded):
            sh(transport, self.SPAWN, on_stdout=seen.append, limit_s=board.pace_s)
        assert_all_end(transport, b"".join(seen).decode().split())

    def test_a_command_that_ignores_sigterm_is_ended_too(self, transport, board):
        seen = []
        with pytest.raises(DeadlineExceeded):
            sh(transport, f"trap '' TERM; {self.SPAWN}", on_stdout=seen.append, limit_s=board.pace_s)
        assert_all_end(transport, b"".join(seen).decode().split())

    def test_a_command_may_finish_its_stream_when_it_is_ended(self, transport, board):
        seen = []
        script = "trap 'echo last words; exit 0' TERM; echo first; while :; do sleep 0.05; done"
        with pytest.raises(DeadlineExceeded):
            sh(transport, script, on_stdout=seen.append, limit_s=board.pace_s)
        assert b"".join(seen) == b"first\nlast words\n"

    def test_an_exception_of_the_callback_ends_the_command(self, transport):
        seen = []

        def on_stdout(data):
            seen.append(data)
            raise Interrupt

        with pytest.raises(Interrupt):
            sh(transport, self.SPAWN, on_stdout=on_stdout)
        assert len(seen) == 1
        assert_all_end(transport, seen[0].decode().split())

    @pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs an interval timer")
    def test_an_interrupt_ends_the_command(self, transport):
        if threading.current_thread() is not threading.main_thread():
            pytest.skip("only the main thread is interrupted")
        seen = []

        def interrupt(number, frame):
            raise KeyboardInterrupt

        def on_stdout(data):
            seen.append(data)
            signal.setitimer(signal.ITIMER_REAL, 0.1)

        previous = signal.signal(signal.SIGALRM, interrupt)
        try:
            with pytest.raises(KeyboardInterrupt):
                sh(transport, self.SPAWN, on_stdout=on_stdout)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, previous)
        assert_all_end(transport, b"".join(seen).decode().split())

    def test_a_child_that_keeps_the_output_open_does_not_hold_up(self, transport):
        done = sh(transport, 'sleep 300 & echo "$!"')
        assert done.ok
        assert_all_end(transport, done.stdout.decode().split())

    def test_a_command_with_closed_outputs_is_waited_for(self, transport):
        assert sh(transport, "exec >&- 2>&-; sleep 0.3; exit 5").exit_code == 5

    def test_a_deadline_may_be_never(self, transport, folder):
        transport.put(b"some time", f"{folder}/file", deadline=Deadline.never())
        target = io.BytesIO()
        transport.get(f"{folder}/file", target, deadline=Deadline.never())
        done = transport.run(["cat"], stdin=target.getvalue(), deadline=Deadline.never())
        assert done.stdout == b"some time"
        assert transport.start(["true"], log=f"{folder}/log", deadline=Deadline.never()) > 0

    def test_a_passed_deadline_starts_nothing(self, transport, folder):
        with pytest.raises(DeadlineExceeded):
            sh(transport, 'echo >"$1/file"', folder, limit_s=0)
        assert names(transport, folder) == []

    # -- side by side

    def test_twenty_calls_run_side_by_side(self, transport, folder):
        def call(number):
            data = secrets.token_bytes(100_000)
            transport.put(data, f"{folder}/{number}", deadline=Deadline(60))
            done = sh(transport, 'cat; echo "$1" >&2', str(number), stdin=data, limit_s=60)
            return done.stdout == data == read(transport, f"{folder}/{number}") and int(done.stderr) == number

        with ThreadPoolExecutor(max_workers=20) as pool:
            assert all(pool.map(call, range(20)))

    def test_puts_to_one_target_side_by_side_leave_one_of_them(self, transport, folder):
        versions = [bytes([number]) * (MIB + number) for number in range(6)]

        def put(data):
            transport.put(data, f"{folder}/deep/file", deadline=Deadline(60))

        with ThreadPoolExecutor(max_workers=6) as pool:
            list(pool.map(put, versions))
        assert read(transport, f"{folder}/deep/file") in versions
        assert names(transport, f"{folder}/deep") == ["file"]

    @pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts descriptors in /proc")
    def test_calls_leave_no_descriptor_and_no_thread(self, transport, folder, board):
        def calls():
            transport.put(b"x" * 10, f"{folder}/file", deadline=Deadline(board.limit_s))
            read(transport, f"{folder}/file")
            transport.run(["cat"], stdin=b"in", deadline=Deadline(board.limit_s))
            transport.run(["no-such-program-here"], deadline=Deadline(board.limit_s))
            with pytest.raises(DeadlineExceeded):
                sh(transport, "echo hi; exec sleep 300", limit_s=board.pace_s)
            with pytest.raises(RemoteFileError):
                transport.get(folder, io.BytesIO(), deadline=Deadline(board.limit_s))

        def held():
            return len(os.listdir("/proc/self/fd")), threading.active_count()

        calls()
        before = held()
        calls()
        assert held() == before

    # -- detached

    def test_what_is_started_goes_on_after_close(self, board, transport, folder):
        starter = board.open()
        script = 'echo "$GREETING"; echo err >&2; while [ ! -e "$1/go" ]; do sleep 0.05; done; echo went on'
        pid = starter.start(
            ["sh", "-c", script, "sh", folder],
            log=f"{folder}/logs/log",
            deadline=Deadline(board.limit_s),
            env={"GREETING": "it's me"},
        )
        starter.close()
        try:
            assert alive(transport, pid)
            transport.put(b"", f"{folder}/go", deadline=Deadline(board.limit_s))
            assert_all_end(transport, [pid])
            assert read(transport, f"{folder}/logs/log") == b"it's me\nerr\nwent on\n"
        finally:
            sh(transport, 'kill "$1" 2>/dev/null', str(pid))

    def test_what_is_started_leads_its_own_group(self, transport, folder, board):
        pid = transport.start(
            ["sh", "-c", 'sleep 300 & echo "$!"; sleep 300'], log=f"{folder}/log", deadline=Deadline(board.limit_s)
        )
        end = Deadline(board.limit_s)
        while not (child := read(transport, f"{folder}/log").decode().strip()):
            end.check("the child's line")
        sh(transport, 'kill -9 -- "-$1" || kill -9 "-$1"', str(pid))
        assert_all_end(transport, [str(pid), child])

    def test_a_missing_program_cannot_be_started(self, transport, folder, board):
        with pytest.raises(RemoteFileError):
            transport.start(["no-such-program-here"], log=f"{folder}/log", deadline=Deadline(board.limit_s))

    # -- closed

    def test_a_closed_transport_refuses_and_may_be_closed_again(self, board):
        transport = board.open()
        sh(transport, ":")
        transport.close()
        transport.close()
        with pytest.raises(TransportError):
            sh(transport, ":")
        with pytest.raises(TransportError):
            transport.get("/etc/hostname", io.BytesIO(), deadline=Deadline(5))


class Brief(TransportContract):
    """The suite with one example of each kind: for slow devices, and for second ways to code that has it whole."""

    LARGE_BYTES = MIB

    test_a_gibibyte_comes_back_equal = None

    @pytest.mark.parametrize("size", [0, 3 * MIB + 1])
    def test_bytes_come_back_equal(self, transport, folder, board, size):
        super().test_bytes_come_back_equal(transport, folder, board, size)

    @pytest.mark.parametrize("name", [ALL_ODD], ids=["all"])
    def test_odd_names_are_only_names(self, transport, folder, board, name):
        super().test_odd_names_are_only_names(transport, folder, board, name)

    @pytest.mark.parametrize("value", [ALL_ODD], ids=["all"])
    def test_the_environment_arrives_as_it_is(self, transport, value):
        super().test_the_environment_arrives_as_it_is(transport, value)

    @pytest.mark.parametrize("code", [0, 255])
    def test_the_exit_code_is_the_commands(self, transport, code):
        super().test_the_exit_code_is_the_commands(transport, code)

    @pytest.mark.parametrize("number", [signal.SIGKILL])
    def test_a_signal_is_told(self, transport, board, number):
        super().test_a_signal_is_told(transport, board, number)
