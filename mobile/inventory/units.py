"""Sizes and rates as people write them, in bytes and bits per second.

The prefixes are SI's (k = 1e3, M = 1e6, G = 1e9) and, for bytes, IEC 80000-13's (Ki = 2**10, Mi = 2**20, Gi =
2**30).
"""

from __future__ import annotations

import math
import re

_PREFIX = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30}
_NUMBER = r"([0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?)"
SIZE_PATTERN = rf"^{_NUMBER} ?(Ki|Mi|Gi|k|K|M|G|)B$"
RATE_PATTERN = rf"^{_NUMBER} ?(k|M|G|)bit(?:/s)?$"


def size_bytes(text: str) -> int:
    """Bytes of a size such as "512 MiB" or "2GB"; ValueError when it is not one.

    >>> size_bytes("512 MiB"), size_bytes("2GB")
    (536870912, 2000000000)
    """
    return round(_scaled(SIZE_PATTERN, text, 'a size such as "512 MiB"'))


def rate_bps(text: str) -> float:
    """Bits per second of a rate such as "20 Mbit/s"; ValueError when it is not one.

    >>> rate_bps("20 Mbit/s"), rate_bps("1.5Gbit")
    (20000000.0, 1500000000.0)
    """
    return _scaled(RATE_PATTERN, text, 'a rate such as "20 Mbit/s"')


def _scaled(pattern: str, text: str, expected: str) -> float:
    match = re.match(pattern, text)
    if match is None:
        raise ValueError(f"expected {expected}")
    value = float(match[1]) * _PREFIX[match[2]]
    if not math.isfinite(value) or value < 1:
        raise ValueError(f"expected {expected}")
    return value
