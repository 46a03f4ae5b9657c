"""The host's cache of what was downloaded and built, and commands that fill it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mobile.deadline import Deadline
from mobile.errors import DeadlineExceeded, SetupError

_POLL_S = 0.1


def cache_folder() -> Path:
    """$EDGEWISE_CACHE, else the platform's cache folder of edgewise. It may be deleted at any time."""
    named = os.environ.get("EDGEWISE_CACHE")
    if named:
        return Path(named).expanduser().absolute()
    from platformdirs import user_cache_path

    return user_cache_path("edgewise", appauthor=False)


@contextlib.contextmanager
def locked(path: Path, deadline: Deadline) -> Iterator[None]:
    """Holds a lock file, so that two set-ups on this host do not build the same thing at once."""
    import fcntl

    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as handle:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if deadline.expired():
                    raise DeadlineExceeded(
                        f"another edgewise holds {path} for {deadline.seconds:g} s", hint="wait for it, or end it"
                    ) from error
                time.sleep(_POLL_S)
        yield


def tool(
    argv: Sequence[str], deadline: Deadline, *, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> str:
    """What a program of the host printed. SetupError with its last words when it is missing or fails."""
    deadline.check(argv[0])
    remaining_s = deadline.remaining_s()
    try:
        done = subprocess.run(
            list(argv),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            cwd=cwd,
            env={**os.environ, "LC_ALL": "C", **(env or {})},
            timeout=None if remaining_s == float("inf") else remaining_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise DeadlineExceeded(f"{Path(argv[0]).name}: not done within {deadline.seconds:g} s") from error
    except OSError as error:
        raise SetupError(f"{argv[0]} cannot be started on this host: {error.strerror}") from error
    if done.returncode != 0:
        raise ToolFailed(Path(argv[0]).name, (done.stderr + b"\n" + done.stdout).decode("utf-8", "replace"))
    return done.stdout.decode("utf-8", "replace")


class ToolFailed(SetupError):
    """A program of the host failed; ``output`` is all it said."""

    def __init__(self, program: str, output: str) -> None:
        lines = [line.strip() for line in output.splitlines() if line.strip()]
        wanted = [line for line in lines if line.lower().startswith(("error:", "e:"))] or lines[-1:]
        super().__init__(f"{program} failed: {(wanted[-1] if wanted else 'it said nothing')[:300]}")
        self.output = output
