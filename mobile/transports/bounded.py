"""A time limit for calls of foreign libraries that have none: name resolution, the ssh agent."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def bounded(call: Callable[[], T], limit_s: float, what: str) -> T:
    """What the call returns or raises; TimeoutError after ``limit_s``. The call then goes on in a daemon thread.

    >>> bounded(lambda: 2 + 2, 5.0, "adding")
    4
    """
    results: list[T] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            results.append(call())
        except BaseException as error:  # noqa: BLE001 - handed over to the caller's thread
            errors.append(error)

    thread = threading.Thread(target=work, name=what, daemon=True)
    thread.start()
    thread.join(min(limit_s, threading.TIMEOUT_MAX))
    if errors:
        raise errors[0]
    if not results:
        raise TimeoutError(f"{what}: no answer within {limit_s:g} s")
    return results[0]
