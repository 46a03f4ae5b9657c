"""Entropy coders over codes: zlib, and zstd or lz4 where their package is installed."""

import zlib
from typing import Any, Tuple, Type

from device_agents.split.frames import CodecError

ZLIB_LEVEL, ZSTD_LEVEL = 1, 3


def module_of(entropy: str) -> Any:
    """The coder's module. CodecError when it is not installed here."""
    try:
        if entropy == "zstd":
            import zstandard

            return zstandard
        if entropy == "lz4":
            import lz4.block

            return lz4.block
    except ImportError as error:
        raise CodecError("{} is not installed here".format(entropy)) from error
    return zlib


def compress(content: memoryview, entropy: str) -> memoryview:
    """The content, coded; itself for ""."""
    if not entropy:
        return content
    module = module_of(entropy)
    if entropy == "zstd":
        return memoryview(module.ZstdCompressor(level=ZSTD_LEVEL).compress(content))
    if entropy == "lz4":
        return memoryview(module.compress(content, store_size=False))
    return memoryview(zlib.compress(content, ZLIB_LEVEL))


def decompress(payload: memoryview, entropy: str, want: int) -> memoryview:
    """The content, of which at most ``want`` bytes (and one more, which tells that there is too much) are made."""
    if not entropy:
        return payload
    module = module_of(entropy)
    try:
        if entropy == "zstd":
            reader = module.ZstdDecompressor(max_window_size=1 << 27).stream_reader(payload)
            return memoryview(reader.read(want + 1))
        if entropy == "lz4":
            return memoryview(module.decompress(payload, uncompressed_size=want)) if want else memoryview(b"")
        return memoryview(zlib.decompressobj().decompress(payload, want + 1))
    except _errors_of(module) as error:
        raise CodecError("the frame's payload is damaged: {}".format(error)) from error


def _errors_of(module: Any) -> Tuple[Type[BaseException], ...]:
    """What an entropy coder raises on a payload that is not its own."""
    own = getattr(module, "ZstdError", None) or getattr(module, "LZ4BlockError", None) or zlib.error
    return (own, ValueError, MemoryError)
