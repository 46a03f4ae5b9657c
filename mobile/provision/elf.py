"""What a program or library for the device asks of its system: read from ELF files, without running them."""

from __future__ import annotations

import re
import struct
from pathlib import Path

from mobile.errors import SetupError

_DYNAMIC, _LOAD = 2, 1  # p_type, elf(5)
_NEEDED, _STRTAB, _SONAME, _END = 1, 5, 14, 0  # d_tag
_LIMIT_BYTES = 1 << 30


def is_elf(path: Path) -> bool:
    """Whether the file is an ELF file."""
    with path.open("rb") as stream:
        return stream.read(4) == b"\x7fELF"


def needed(path: Path) -> list[str]:
    """The libraries that a 64-bit little-endian ELF file names as needed; empty for a static one."""
    return [name for tag, name in _named(path) if tag == _NEEDED]


def soname(path: Path) -> str | None:
    """The name by which others need this library."""
    return next((name for tag, name in _named(path) if tag == _SONAME), None)


def glibc_needed(path: Path) -> tuple[int, int] | None:
    """The newest glibc whose symbols the file names, None when it names none."""
    found = re.findall(rb"\x00GLIBC_2\.(\d{1,3})(?=\x00)", _bytes(path))
    return (2, max(map(int, found))) if found else None


def _bytes(path: Path) -> bytes:
    if path.stat().st_size > _LIMIT_BYTES:
        raise SetupError(f"{path}: over {_LIMIT_BYTES} bytes, no library of a runtime is")
    return path.read_bytes()


def _named(path: Path) -> list[tuple[int, str]]:
    data = _bytes(path)
    if data[:6] != b"\x7fELF\x02\x01":
        raise SetupError(f"{path}: not a 64-bit little-endian ELF file")
    try:
        return _dynamic(data)
    except (struct.error, ValueError) as error:
        raise SetupError(f"{path}: damaged ELF file ({error})") from error


def _dynamic(data: bytes) -> list[tuple[int, str]]:
    table, entry_bytes, count = struct.unpack_from("<Q", data, 32)[0], *struct.unpack_from("<HH", data, 54)
    headers = [struct.unpack_from("<IIQQQQQQ", data, table + index * entry_bytes) for index in range(count)]
    dynamic = next((header for header in headers if header[0] == _DYNAMIC), None)
    if dynamic is None:
        return []
    entries = []
    for at in range(dynamic[2], dynamic[2] + dynamic[5], 16):
        tag, value = struct.unpack_from("<qQ", data, at)
        if tag == _END:
            break
        entries.append((tag, value))
    address = dict(entries).get(_STRTAB)
    if address is None:
        return []
    strings = _offset(headers, address)
    named = []
    for tag, value in entries:
        if tag in (_NEEDED, _SONAME):
            start = strings + value
            named.append((tag, data[start : data.index(b"\0", start)].decode("utf-8", "replace")))
    return named


def _offset(headers: list[tuple[int, ...]], address: int) -> int:
    """Where in the file the memory address lies."""
    for kind, _, offset, start, _, size, _, _ in headers:
        if kind == _LOAD and start <= address < start + size:
            return offset + address - start
    raise ValueError("its strings lie in no segment")
