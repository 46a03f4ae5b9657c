"""Push over SSH beside scp, on the lab: `python -m benchmarks.push_ssh [--quick]`.

Ours hashes the file, connects, verifies it on the board by SHA-256 and flushes it to the storage; scp connects and
copies. The goodput is what a bare TCP stream of the same bytes reaches.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

from benchmarks.push_lab import LIMIT_S, Place, arguments, interleaved, place, push, random_file, weights_file
from benchmarks.table import Line, show

SLOW = {"rate": "100mbit", "delay": "5ms"}
_PORT = 7000
_SINK = f"""
import socket
server = socket.create_server(("", {_PORT}))
print("ready", flush=True)
while True:
    with server.accept()[0] as connection:
        while connection.recv(1 << 20):
            pass
        connection.sendall(b"x")
"""


def main() -> None:
    """Prints our times beside scp's, at 100 Mbit/s with 10 ms and on a cable without a limit."""
    quick = arguments(__doc__).quick
    lines = []
    with place("board=ssh-amd64,disk=4G") as there, sink(there):
        for name, link, make, size_bytes, repeats in (
            ("weights, 100 Mbit/s, 10 ms", SLOW, weights_file, 200_000_000, 2),
            ("noise, 100 Mbit/s, 10 ms", SLOW, random_file, 200_000_000, 2),
            ("noise, no limit", {"rate": "none", "delay": "0"}, random_file, 400_000_000, 5),
        ):
            there.lab.link("board", **link)
            source = make(there.folder / "model", size_bytes // 5 if quick else size_bytes)
            lines += compared(there, name, source, 1 if quick else repeats)
    show("Push over SSH", lines)


@contextlib.contextmanager
def sink(there: Place) -> Iterator[None]:
    """A block in which the board takes whatever comes to a port."""
    words, env = there.lab.program("board", ["python3", "-c", _SINK])
    with subprocess.Popen(words, env=env, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            server.stdout.readline()
            yield
        finally:
            server.kill()


def compared(there: Place, name: str, source: Path, repeats: int) -> list[Line]:
    """The lines of one kind of link."""
    numbers = itertools.count()
    size_bytes = source.stat().st_size

    def ours() -> None:
        push(there, "board", random_part(source, next(numbers)))

    def scp() -> None:
        random_part(source, next(numbers))
        subprocess.run(
            ["scp", "-q", "-F", there.lab.ssh_config_path, source, "board:model"], check=True, timeout=LIMIT_S
        )

    def bare() -> None:
        with socket.create_connection((there.lab.devices["board"].address, _PORT), timeout=LIMIT_S) as connection:
            with source.open("rb") as stream:
                connection.sendfile(stream)
            connection.shutdown(socket.SHUT_WR)
            connection.recv(1)

    ours_s, scp_s, bare_s = interleaved([ours, scp, bare], repeats)
    there.lab.run_in("board", ["sh", "-c", "rm -rf /home/edge/.edgewise /home/edge/model"])
    text = [f"{size_bytes * 8e-6 / taken_s:.1f} Mbit/s" for taken_s in (ours_s, scp_s, bare_s)]
    what = f"{size_bytes / 1e6:.0f} MB, {name}"
    return [
        Line(f"{what}: push, scp", text[0], text[1], scp_s / ours_s, ">= 1"),
        Line(
            f"{what}: push, bare TCP", text[0], text[2], bare_s / ours_s, ">= 0.97" if "limit" not in name else "shown"
        ),
    ]


def random_part(path: Path, number: int) -> Path:
    """The same file with other first bytes in each MiB, so that nothing of it is known on the board."""
    with path.open("r+b") as stream:
        for start in range(0, path.stat().st_size, 1 << 18):
            stream.seek(start)
            stream.write(number.to_bytes(8, "little"))
    return path


if __name__ == "__main__":
    main()
