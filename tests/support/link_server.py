"""The end of /edgewise/link that a server has, for tests of what measures it."""

from __future__ import annotations

import json
from urllib.parse import parse_qs, urlsplit

from tests.support.wire_server import Respond, reply

TOKEN = "a-secret-token"


def linked(limit: int = 1 << 40, token: str | None = None) -> Respond:
    """Answers as /edgewise/link does; beyond ``limit`` bytes in all it closes the connection."""
    passed = [0]

    def respond(head: bytes, body: bytes) -> bytes | None:
        path = urlsplit(head.split(b" ")[1].decode())
        if path.path != "/edgewise/link":
            return reply(b"{}", "404 Not Found")
        if token is not None and f"authorization: bearer {token}" not in head.decode().lower():
            return reply(json.dumps({"error": "wrong token"}).encode(), "401 Unauthorized")
        wanted = int(parse_qs(path.query).get("down", ["0"])[0])
        passed[0] += len(body) + wanted
        return None if passed[0] > limit else reply(b"x" * wanted)

    return respond
