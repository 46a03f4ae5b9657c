"""The RSA keys by which a phone knows this host: adb's own where there are some, else one made for edgewise."""

from __future__ import annotations

import base64
import os
import socket
import struct
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mobile.errors import ConfigError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

_KEY_BITS = 2048  # phones know no other length
HASH_BYTES = 20  # the token that is signed has the length of a SHA-1 hash


@dataclass(frozen=True)
class AdbKey:
    """A private key's file, with its public half as phones want it."""

    path: Path
    public: bytes

    def sign(self, token: bytes) -> bytes:
        """The signature of a token of HASH_BYTES, PKCS #1 v1.5 with SHA-1's prefix, as adbd checks it."""
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import padding, utils

        return _private(self.path).sign(token, padding.PKCS1v15(), utils.Prehashed(hashes.SHA1()))  # noqa: S303


def adb_keys() -> list[AdbKey]:
    """The keys to offer, in their order: ~/.android/adbkey, those of $ADB_VENDOR_KEYS, else edgewise's own.

    edgewise's own is made at its first use, in the user's data folder. ConfigError when a key cannot be read or made.
    """
    paths = [path for path in (Path("~/.android/adbkey").expanduser(), *_vendor_keys()) if path.is_file()]
    if paths:
        return [_key(path) for path in paths]
    import platformdirs

    own = Path(platformdirs.user_data_dir("edgewise")) / "adbkey"
    if not own.is_file():
        _make(own)
    return [_key(own)]


def _vendor_keys() -> list[Path]:
    found: list[Path] = []
    for place in os.environ.get("ADB_VENDOR_KEYS", "").split(os.pathsep):
        path = Path(place)
        if place and path.is_dir():
            found += sorted(path.glob("*.adb_key"))
        elif place:
            found.append(path)
    return found


def _key(path: Path) -> AdbKey:
    from adb_shell.auth.keygen import encode_pubkey

    try:
        _private(path)
        public = base64.b64encode(encode_pubkey(str(path)))
    except (OSError, ValueError, TypeError, struct.error) as error:
        raise ConfigError(f"cannot use the adb key {path}: {error}") from error
    return AdbKey(path, public + b" edgewise@" + socket.gethostname().encode("utf-8"))


def _private(path: Path) -> RSAPrivateKey:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    key = load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, RSAPrivateKey) or key.key_size != _KEY_BITS:
        raise ValueError(f"not an RSA key of {_KEY_BITS} bits")
    return key


def _make(path: Path) -> None:
    """Makes the key beside its place and moves it there, unless another process was faster."""
    from adb_shell.auth.keygen import keygen

    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            made = Path(folder) / "adbkey"
            keygen(str(made))
            made.chmod(0o600)
            _claim(made, path)
    except OSError as error:
        raise ConfigError(f"cannot make an adb key in {path.parent}: {error.strerror}") from error


def _claim(made: Path, path: Path) -> None:
    try:
        os.link(made, path)
    except FileExistsError:
        return
    except OSError:  # a file system without hard links
        made.replace(path)
