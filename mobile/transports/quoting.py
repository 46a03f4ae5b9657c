"""How an argument list becomes the one line that a device's shell is given. The only place where that happens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def quote(text: str) -> bytes:
    """The text as one word of a POSIX shell, byte for byte.

    >>> quote("it's")
    b"'it'\\\\''s'"
    """
    return b"'" + text.encode("utf-8", "surrogateescape").replace(b"'", b"'\\''") + b"'"


def command_line(argv: Sequence[str], env: Mapping[str, str], opening: str) -> bytes:
    """A line for the login shell that runs the command in its place, after the line "OPENING PID" on stdout.

    What a login shell's start-up files print comes before that line. The process keeps its id through each exec, so
    PID is the command's, and its group's, as sshd and adbd give each command a session of its own.
    """
    return _line(f'printf "%s %s\\n" {opening} "$$"', argv, env, b'exec "$@"')


def reporting_command_line(
    argv: Sequence[str], env: Mapping[str, str], opening: str, closing: str, files: tuple[str, str] | None = None
) -> bytes:
    """A line as above, whose shell stays and reports "CLOSING EXIT_CODE" on stdout when the command has ended.

    For a wire that tells the exit code late (after every child has closed the outputs) or not at all. With ``files``,
    two plain names: the first is the command's input; the second takes its stderr, which follows the report. Both go.
    """
    report = f'code=$?; printf "%s %s\\n" {closing} "$code"'
    last = f'"$@"; {report}; exit "$code"'
    if files is not None:
        last = (
            f'"$@" <{files[0]} 2>{files[1]}; {report}; cat {files[1]}; rm -f {files[1]} {_own(files[0])}; exit "$code"'
        )
    # A trap, unlike an ignored signal, is not inherited: the command dies of SIGTERM, this shell still reports.
    return _line(f'trap : HUP INT TERM; printf "%s %s\\n" {opening} "$$"', argv, env, last.encode("ascii"))


def _own(name: str) -> str:
    return "" if name.startswith("/dev/") else name


def _line(first: str, argv: Sequence[str], env: Mapping[str, str], last: bytes) -> bytes:
    exports = [b"export " + name.encode("ascii") + b"=" + quote(value) for name, value in env.items()]
    script = b"; ".join([first.encode("ascii"), *exports, last])
    words = [script.decode("utf-8", "surrogateescape"), "sh", *argv]
    return b"exec sh -c " + b" ".join(quote(word) for word in words)
