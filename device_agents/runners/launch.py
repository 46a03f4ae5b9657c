"""One launch of a native program: started, read while it runs, and its end told."""

import functools
import os
import selectors
import signal
import subprocess
from typing import Dict, List, NamedTuple, Sequence

from device_agents.endings import CRASH_SIGNALS, MEMORY_WORDS
from device_agents.failures import AgentFailure
from device_agents.lifeline import die_with_parent

KEEP_BYTES = 1024 * 1024  # of the beginning and of the end of each stream: a program may print without end
LOOK_S = 0.2  # a program may end while something it started still holds its pipes


class Output(NamedTuple):
    """What a program printed; of very long output the middle is left out."""

    stdout: str
    stderr: str


def launch(argv: Sequence[str], environment: Dict[str, str]) -> Output:
    """What the program printed, once it ended with exit code 0.

    AgentFailure: "missing-runtime" when there is no such program; "crashed", "out-of-memory" or "killed" when a signal
    ended it; "command-failed", with the last line of its standard error, for any other end. It shares our process
    group, so that whoever kills the group leaves nothing of it behind.
    """
    try:
        process = subprocess.Popen(
            list(argv),
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # A killed supervisor takes the worker along, and this takes the program along with the worker.
            preexec_fn=functools.partial(die_with_parent, os.getpid()),
        )
    except OSError as error:
        raise _not_started(argv[0], error) from error
    except ValueError as error:  # a NUL in an argument
        raise AgentFailure("bad-spec", "the command cannot be started: {}".format(error)) from error
    try:
        output = _read(process)
    except BaseException:
        process.kill()
        raise
    finally:
        code = process.wait()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()
    if code != 0:
        raise _ended_badly(argv[0], code, output)
    return output


def _read(process: "subprocess.Popen[bytes]") -> Output:
    kept: Dict[int, _Kept] = {}
    with selectors.DefaultSelector() as selector:
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                os.set_blocking(stream.fileno(), False)
                selector.register(stream.fileno(), selectors.EVENT_READ)
                kept[stream.fileno()] = _Kept()
        order = list(kept)
        while selector.get_map():
            ready = selector.select(LOOK_S)
            for key, _ in ready:
                data = os.read(key.fd, 65536)
                kept[key.fd].add(data)
                if not data:
                    selector.unregister(key.fd)
            if not ready and process.poll() is not None:
                break
    texts = [kept[descriptor].text() for descriptor in order]
    return Output(texts[0], texts[1])


class _Kept:
    """The beginning and the end of a stream."""

    def __init__(self) -> None:
        self._head = b""
        self._tail = b""

    def add(self, data: bytes) -> None:
        room = KEEP_BYTES - len(self._head)
        self._head += data[:room]
        self._tail = (self._tail + data[room:])[-KEEP_BYTES:] if len(data) > room else self._tail

    def text(self) -> str:
        return (self._head + self._tail).decode("utf-8", "replace")


def _not_started(program: str, error: OSError) -> AgentFailure:
    if isinstance(error, FileNotFoundError):
        # Also when the program is there and its loader is not: a binary of another C library.
        if os.path.exists(program):
            return AgentFailure(
                "missing-runtime",
                "{} is there, but the loader or interpreter that it names is not".format(program),
                "Use a build of the program for this system's C library.",
            )
        return missing(program)
    if isinstance(error, PermissionError):
        return AgentFailure(
            "command-failed",
            "{} may not be executed".format(program),
            "Make it executable (chmod +x), on a file system that is not mounted noexec.",
        )
    reason = error.strerror or str(error)
    return AgentFailure("command-failed", "{} cannot be started: {}".format(program, reason))


def missing(program: str) -> AgentFailure:
    """The failure for a program that is not on the device."""
    return AgentFailure(
        "missing-runtime",
        "there is no program {!r} on the device".format(program),
        "Put it on the device's PATH, or give its path there as the first word of the command.",
    )


def _ended_badly(program: str, code: int, output: Output) -> AgentFailure:
    said = last_line(output.stderr) or last_line(output.stdout)
    words = "; it last said: " + said if said else ""
    if code > 0:
        about_memory = any(word in output.stderr for word in MEMORY_WORDS)
        message = "{} ended with exit code {}{}".format(program, code, words)
        return AgentFailure("out-of-memory" if about_memory else "command-failed", message)
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = "signal {}".format(-code)
    message = "{} was ended by {}{}".format(program, name, words)
    if name in CRASH_SIGNALS:
        about_memory = any(word in output.stderr for word in MEMORY_WORDS)
        return AgentFailure("out-of-memory" if about_memory else "crashed", message)
    return AgentFailure("killed", message)


def last_line(text: str) -> str:
    """The last line that is not empty, at most 300 characters; "" when there is none."""
    lines: List[str] = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""
