"""known_hosts: which key a host had before. Read and written as OpenSSH does (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT)."""

from __future__ import annotations

import base64
import binascii
import fnmatch
import hashlib
import hmac
import os
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mobile.errors import AuthenticationFailed, ConfigError

SYSTEM_FILE = "/etc/ssh/ssh_known_hosts"


@dataclass(frozen=True)
class HostKey:
    """A public host key: its type, as "ssh-ed25519", and its bytes on the wire."""

    kind: str
    blob: bytes

    @property
    def fingerprint(self) -> str:
        """As ssh shows it: "SHA256:" and the hash in base64."""
        return "SHA256:" + base64.b64encode(hashlib.sha256(self.blob).digest()).decode("ascii").rstrip("=")

    def line(self, name: str) -> str:
        """The line of known_hosts that says that this is the key of ``name``."""
        return f"{name} {self.kind} {base64.b64encode(self.blob).decode('ascii')}"


@dataclass(frozen=True)
class _Entry:
    marker: str
    names: str
    key: HostKey


def host_name(host: str, port: int) -> str:
    """The name under which known_hosts has a host.

    >>> host_name("Pi5.local", 22), host_name("pi5.local", 2222)
    ('pi5.local', '[pi5.local]:2222')
    """
    return host.lower() if port == 22 else f"[{host.lower()}]:{port}"


class KnownHosts:
    """The known keys of one host, out of several files. The first file is the one that new keys are written to."""

    def __init__(self, files: Sequence[str], host: str, port: int) -> None:
        self.name = host_name(host, port)
        self._file = files[0]
        found = [entry for file in files for entry in _entries(file) if _matches(entry.names, self.name)]
        self._known = [entry.key for entry in found if not entry.marker]
        self._revoked = [entry.key for entry in found if entry.marker == "@revoked"]

    @property
    def kinds(self) -> list[str]:
        """The types of key that are known, so that the host can be asked for one of them."""
        return [key.kind for key in self._known]

    def check(self, device: str, offered: HostKey, policy: str) -> None:
        """Nothing, or AuthenticationFailed when the key is unknown, another than before, or revoked.

        With policy "accept-new" an unknown key is written down and taken, with "insecure" any is taken.
        """
        if policy == "insecure":
            return
        if offered in self._revoked:
            raise AuthenticationFailed(
                f"{device}: the host key of {self.name} ({offered.fingerprint}) is marked as revoked"
            )
        if offered in self._known:
            return
        if self._known:
            raise self._changed(device, offered)
        if policy == "accept-new":
            self._accept(offered)
            return
        raise AuthenticationFailed(
            f"{device}: the host key of {self.name} is not known: {offered.kind} {offered.fingerprint}",
            hint="compare it with `ssh-keygen -lf /etc/ssh/ssh_host_*_key.pub` on the device; to accept it:"
            f" echo {shlex.quote(offered.line(self.name))} >>{shlex.quote(self._file)}",
        )

    def _changed(self, device: str, offered: HostKey) -> AuthenticationFailed:
        known = ", ".join(f"{key.kind} {key.fingerprint}" for key in self._known)
        return AuthenticationFailed(
            f"{device}: THE HOST KEY OF {self.name} HAS CHANGED. Known is {known}; it now shows"
            f" {offered.kind} {offered.fingerprint}. Someone may be in between, or the device was set up anew",
            hint="if it was set up anew:"
            f" ssh-keygen -f {shlex.quote(self._file)} -R {shlex.quote(self.name)}, then try again",
        )

    def _accept(self, offered: HostKey) -> None:
        path = Path(self._file)
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "r+b", buffering=0) as stream:
                end = stream.seek(0, os.SEEK_END)
                opening = b""
                if end:
                    stream.seek(end - 1)
                    opening = b"" if stream.read(1) == b"\n" else b"\n"
                stream.write(opening + offered.line(self.name).encode("utf-8") + b"\n")
        except OSError as error:
            raise ConfigError(f"cannot write {path}: {error.strerror}") from error


def _entries(file: str) -> Iterator[_Entry]:
    try:
        text = Path(file).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return
    except OSError as error:
        raise ConfigError(f"cannot read the known hosts in {file}: {error.strerror}") from error
    for line in text.splitlines():
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        marker = words.pop(0) if words[0].startswith("@") else ""
        if len(words) < 3:
            continue
        try:
            blob = base64.b64decode(words[2], validate=True)
        except binascii.Error:
            continue  # as OpenSSH does: a damaged line knows no host
        yield _Entry(marker, words[0], HostKey(words[1], blob))


def _matches(names: str, name: str) -> bool:
    if names.startswith("|1|"):
        return _matches_hashed(names, name)
    found = False
    for pattern in names.lower().split(","):
        # Only * and ? are special in known_hosts; fnmatch knows brackets as well.
        negated, pattern = pattern.startswith("!"), pattern.lstrip("!").replace("[", "[[]")
        if fnmatch.fnmatchcase(name, pattern):
            if negated:
                return False
            found = True
    return found


def _matches_hashed(names: str, name: str) -> bool:
    try:
        _, _, salt, digest = names.split("|")
        wanted = base64.b64decode(digest)
        made = hmac.new(base64.b64decode(salt), name.encode("utf-8"), "sha1").digest()
    except (ValueError, binascii.Error):
        return False
    return hmac.compare_digest(wanted, made)
