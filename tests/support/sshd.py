"""A real sshd on loopback, unprivileged or not, with keys and settings of its own."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace

PLACES = ("/usr/sbin", "/usr/local/sbin", "/sbin", "/opt/homebrew/sbin")


def find_sshd():
    """The path of sshd, None where it is not installed."""
    return shutil.which("sshd", path=os.pathsep.join([os.environ.get("PATH", ""), *PLACES]))


def make_key(path: Path, kind="ed25519", passphrase=""):
    """A new private key; the public one lies beside it."""
    command = ["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", "test", "-f", str(path)]
    subprocess.run([*command, *(["-b", "2048"] if kind == "rsa" else [])], check=True, timeout=60)
    return path


class Sshd:
    """A running sshd. ``device()`` describes it as the inventory would."""

    def __init__(self, folder: Path, *settings: str):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.host_key = make_key(folder / "host_key")
        self.key = make_key(folder / "client_key")
        self.authorized = folder / "authorized_keys"
        self.authorized.write_text((folder / "client_key.pub").read_text())
        self.known_hosts = folder / "known_hosts"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._write_config(settings)
        self.accept()
        self._log = (folder / "log").open("wb")
        self.process = subprocess.Popen(
            [find_sshd(), "-D", "-e", "-f", str(folder / "config")], stdin=subprocess.DEVNULL, stderr=self._log
        )
        self._wait()

    def _write_config(self, settings):
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where a privileged sshd wants to separate
        lines = [
            f"Port {self.port}", "ListenAddress 127.0.0.1", f"HostKey {self.host_key}", "PidFile none",
            f"AuthorizedKeysFile {self.authorized}", "StrictModes no", "UsePAM no", "PasswordAuthentication no",
            "KbdInteractiveAuthentication no", "PermitRootLogin yes", "MaxStartups 100",
            "SetEnv SHLVL=2",  # so that bash passes over ~/.bashrc, whatever this machine has there
            *settings,
        ]  # fmt: skip
        (self.folder / "config").write_text("\n".join(lines) + "\n")

    def _wait(self):
        end = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                if time.monotonic() > end or self.process.poll() is not None:
                    raise RuntimeError((self.folder / "log").read_text()) from None
                time.sleep(0.02)

    def accept(self):
        """Makes the host key known."""
        kind, blob = (self.folder / "host_key.pub").read_text().split()[:2]
        self.known_hosts.write_text(f"[127.0.0.1]:{self.port} {kind} {blob}\n")

    def device(self, **fields):
        """A device of the inventory."""
        given = {
            "name": "board", "transport": "ssh", "provenance": "emulated", "host": "127.0.0.1", "port": self.port,
            "serial": None, "user": getpass.getuser(), "key_file": str(self.key), "passphrase_env": None,
            "password_env": None, "known_hosts": str(self.known_hosts), "host_key_policy": "strict",
            "proxy_jump": None, "ssh_alias": None,
        }  # fmt: skip
        return SimpleNamespace(**{**given, **fields})

    def children(self):
        """The process ids of its connections."""
        command = ["ps", "-o", "pid=", "--ppid", str(self.process.pid)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
        return [int(word) for word in done.stdout.split()]

    def stop(self):
        """Ends it, with its connections."""
        for pid in [*self.children(), self.process.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)
        self.process.wait(20)
        self._log.close()
