"""One GET to a meter: bounded in time and size, to the configured host and no other, with its password where it asks.

Meters speak plain HTTP in the local network. A Shelly of the second generation asks by digest (RFC 7616, SHA-256), an
older one by basic authentication. No header, password or query ever becomes part of a message.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import re
import secrets
import socket
import threading
from urllib.parse import urlsplit

from mobile.meters.base import MeterFault
from mobile.meters.texts import MAX_REPLY_BYTES

LIMIT_S = 4.0
_PART = re.compile(r'(\w+)\s*=\s*(?:"((?:[^"\\]|\\.){0,512})"|([^\s,"]{1,256}))')
_HASHES = {"MD5": hashlib.md5, "SHA-256": hashlib.sha256}


class MeterHttp:
    """The way to one meter. ``close`` may be called from another thread: a request in progress then ends."""

    def __init__(self, url: str, user: str, password: str | None, limit_s: float = LIMIT_S) -> None:
        parts = urlsplit(url)
        self._host = parts.hostname or ""
        self._port = parts.port or 80
        self._user = user
        self._password = password
        self._limit_s = limit_s
        self._challenge: dict[str, str] | None = None
        self._count = 0
        self._socket: socket.socket | None = None

    @property
    def name(self) -> str:
        """The host, for messages."""
        return self._host

    def get(self, path: str) -> bytes:
        """The body of the answer. MeterFault with the reason when there is none, or the answer is not 200."""
        status, body, challenge = self._once(path)
        if status == 401:
            if self._password is None:
                raise MeterFault(f"{self._host} asks for a password: name its variable with password_env")
            self._challenge, self._count = _offer(challenge), 0
            if self._challenge is None:
                raise MeterFault(f"{self._host} asks for a password in a way that edgewise does not know")
            status, body, _ = self._once(path)
            if status == 401:
                self._challenge = None
                raise MeterFault(f"{self._host} refuses the password")
        if 300 <= status < 400:
            raise MeterFault(f"{self._host} sends us elsewhere (status {status}), which is not followed")
        if status != 200:
            raise MeterFault(f"{self._host} answers with status {status}")
        if len(body) > MAX_REPLY_BYTES:
            raise MeterFault(f"{self._host} answers with more than {MAX_REPLY_BYTES} bytes")
        return body

    def close(self) -> None:
        """Ends a request that is in progress."""
        held = self._socket
        if held is not None:
            with contextlib.suppress(OSError):
                held.shutdown(socket.SHUT_RDWR)

    def _once(self, path: str) -> tuple[int, bytes, str]:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=self._limit_s)
        # A limit on each read would let a meter drip a byte a second for ever: the whole request has one.
        late = threading.Event()
        timer = threading.Timer(self._limit_s, self._give_up, (late,))
        timer.daemon = True
        try:
            connection.connect()
            self._socket = connection.sock
            timer.start()
            connection.request("GET", path, headers={"Connection": "close", **self._authorization(path)})
            response = connection.getresponse()
            body = response.read(MAX_REPLY_BYTES + 1)
            length = response.getheader("Content-Length")
            if length is not None and length.isdigit() and len(body) < min(int(length), MAX_REPLY_BYTES + 1):
                slow = (
                    f"does not answer in full within {self._limit_s:g} s" if late.is_set() else "broke off its answer"
                )
                raise MeterFault(f"{self._host} {slow}")
            return response.status, body, ", ".join(response.headers.get_all("WWW-Authenticate") or [])
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise MeterFault(f"{self._host} does not answer: {_why(error)}") from error
        finally:
            timer.cancel()
            self._socket = None
            connection.close()

    def _give_up(self, late: threading.Event) -> None:
        late.set()
        self.close()

    def _authorization(self, path: str) -> dict[str, str]:
        if self._challenge is None or self._password is None:
            return {}
        if self._challenge["scheme"] == "basic":
            pair = base64.b64encode(f"{self._user}:{self._password}".encode()).decode("ascii")
            return {"Authorization": f"Basic {pair}"}
        self._count += 1
        answer = digest(self._challenge, self._user, self._password, path, self._count, secrets.token_hex(8))
        return {"Authorization": answer}


def digest(challenge: dict[str, str], user: str, password: str, path: str, count: int, cnonce: str) -> str:
    """The Authorization header of a GET (RFC 7616 section 3.4): algorithms MD5 and SHA-256, qop auth or none."""
    algorithm = challenge.get("algorithm", "MD5")
    realm, nonce = challenge.get("realm", ""), challenge.get("nonce", "")

    def hashed(text: str) -> str:
        return _HASHES[algorithm.upper()](text.encode()).hexdigest()

    secret, request = hashed(f"{user}:{realm}:{password}"), hashed(f"GET:{path}")
    fields = {"username": user, "realm": realm, "nonce": nonce, "uri": path}
    plain = {"algorithm": algorithm}
    if "qop" in challenge:
        plain |= {"qop": "auth", "nc": f"{count:08x}"}
        fields["cnonce"] = cnonce
        fields["response"] = hashed(f"{secret}:{nonce}:{count:08x}:{cnonce}:auth:{request}")
    else:
        fields["response"] = hashed(f"{secret}:{nonce}:{request}")
    if "opaque" in challenge:
        fields["opaque"] = challenge["opaque"]
    quoted = [f'{name}="{_escaped(value)}"' for name, value in fields.items()]
    return "Digest " + ", ".join(quoted + [f"{name}={value}" for name, value in plain.items()])


def _offer(header: str) -> dict[str, str] | None:
    """The parts of the challenge that we can answer; None when there is none."""
    text = header.strip()
    start = re.search(r"\bDigest\s", text, re.IGNORECASE)
    if start is not None:
        parts = {
            name.lower(): re.sub(r"\\(.)", r"\1", quoted) or bare
            for name, quoted, bare in _PART.findall(text[start.end() :])
        }
        known = parts.get("algorithm", "MD5").upper() in _HASHES
        asked = [word.strip() for word in parts.get("qop", "auth").split(",")]
        if known and "auth" in asked and parts.get("nonce"):
            return {"scheme": "digest", **parts}
    if re.search(r"\bBasic\b", text, re.IGNORECASE):
        return {"scheme": "basic"}
    return None


def _escaped(value: str) -> str:
    return "".join(char for char in value if char.isprintable()).replace("\\", "\\\\").replace('"', '\\"')


def _why(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, http.client.HTTPException):
        return "what it says is no HTTP, or was cut"
    return getattr(error, "strerror", None) or type(error).__name__
