"""One small weight of every family, with odd sizes, ragged groups and every optional part."""

from __future__ import annotations

from itertools import product

import numpy as np

from exporters.compress.tensors import (
    Adapter,
    Affine,
    Binary,
    Blocks,
    Codebook,
    CompressedTensor,
    Dense,
    DualBinary,
    Emulated,
    LowRank,
    PowerOfTwo,
    Shared,
    Sparse,
    Ternary,
    float_format,
)

N, K, GROUP = 6, 21, 8
G = 3  # groups of a row: 8, 8 and 5 columns
SHAPES = {"matmul": ((K, N), 1), "gemm": ((N, K), 0), "conv": ((N, 7, 3), 0), "turned": ((7, N, 3), 1)}


def floats(seed: int, *shape: int) -> np.ndarray:
    """Random values, some negative, none special."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def whole(seed: int, low: int, high: int, shape: tuple[int, ...], kind: type = np.uint8) -> np.ndarray:
    """Random codes, ``low``..``high``."""
    return np.random.default_rng(seed).integers(low, high + 1, shape).astype(kind)


def all_tensors() -> dict[str, CompressedTensor]:
    """By a name that says what is special about it."""
    found: dict[str, CompressedTensor] = {}

    def add(name: str, make: type[CompressedTensor], *parts: object, like: str = "matmul") -> None:
        found[name] = make(name, *SHAPES[like], *parts)

    for width, signed, zeros in product(range(1, 9), (False, True), (False, True)):
        low, high = (-(1 << width - 1), (1 << width - 1) - 1) if signed else (0, (1 << width) - 1)
        kind = np.int8 if signed else np.uint8
        name = f"affine-{width}{'s' if signed else 'u'}{'z' if zeros else ''}"
        points = whole(2, low, high, (N, G), kind) if zeros else None
        codes = whole(width, low, high, (N, K), kind)
        add(name, Affine, codes, floats(3, N, G), GROUP, width, signed, points, like=list(SHAPES)[width % 4])
    add("affine-tensor", Affine, whole(1, 0, 15, (N, K)), floats(1, 1, 1), K, 4, False, whole(2, 0, 15, (1, 1)))
    order = np.random.default_rng(5).integers(0, G, K).astype(np.int32)
    add("affine-order", Affine, whole(1, 0, 15, (N, K)), floats(1, N, G), GROUP, 4, False, None, order)
    add("binary", Binary, whole(1, 0, 1, (N, K)), floats(1, N, 1), K, like="conv")
    add("binary-offset", Binary, whole(1, 0, 1, (N, K)), floats(1, N, G), GROUP, floats(2, N, G))
    add("ternary", Ternary, whole(1, -1, 1, (N, K), np.int8), floats(1, 1, 1), K)
    add("ternary-group", Ternary, whole(1, -1, 1, (N, K), np.int8), floats(1, N, G), GROUP, like="turned")
    add("ternary-trits", Ternary, whole(1, -1, 1, (N, K), np.int8), floats(1, 1, 1), K, True)
    bits = whole(1, 0, 1, (N, K)), whole(2, 0, 1, (N, K))
    add("dual", DualBinary, *bits, floats(1, N, G), floats(2, N, G), GROUP)
    add("power", PowerOfTwo, whole(1, 0, 15, (N, K)), floats(1, N, 1), K)
    add("codebook-16", Codebook, whole(1, 0, 15, (N, K)), floats(1, 16))
    add("codebook-200", Codebook, whole(1, 0, 199, (N, K)), floats(1, 200))
    add("codebook-rows", Codebook, whole(1, 0, 10, (N, K)), floats(1, N, 11), like="conv")
    mask = whole(4, 0, 1, (2, 6)).astype(bool)
    mask[0, 0] = True
    kept = int(mask.sum())
    add("blocks", Blocks, (4, 4), mask, floats(1, kept, 4, 4))
    inner = Affine(
        "inner", (kept * 4, 4), 0, whole(1, -8, 7, (kept * 4, 4), np.int8), floats(1, kept * 4, 1), 4, 4, True
    )
    add("blocks-int4", Blocks, (4, 4), mask, inner)
    some = whole(6, 0, 1, (N, K)).astype(bool)
    add("sparse", Sparse, some, floats(1, int(some.sum())))
    pairs = np.tile(np.array([True, False, True, False]), 6)[None, :K].repeat(N, 0)
    add("two-of-four", Sparse, pairs, floats(1, int(pairs.sum())), (2, 4))
    add("low-rank", LowRank, floats(1, N, 3), floats(2, 3, K))
    add("lora", Adapter, floats(1, N, 2), floats(2, 2, K), 16.0)
    add("lora-scaling", Adapter, floats(1, N, 2), floats(2, 2, K), 16.0, 0.5)
    add("dense", Dense, floats(1, N, K))
    for name in ("fp16", "bf16", "fp8e4m3", "fp8e5m2", "fp6e3m2", "fp6e2m3", "fp4e2m1", "e5m4", "e3m8", "e2m1"):
        codes = float_format(name).encode(floats(1, N, K))
        add(name, Emulated, codes, name)
    add("fp8-scaled", Emulated, float_format("fp8e4m3").encode(floats(1, N, K)), "fp8e4m3", floats(2, N, 1), K)
    for name in ("mxfp8e4m3", "mxfp8e5m2", "mxfp6e3m2", "mxfp6e2m3", "mxfp4", "mxint8"):
        powers = np.exp2(whole(3, -126, 120, (N, G), np.int8).astype(np.float32))
        add(name, Emulated, float_format(name).encode(floats(1, N, K)), name, powers, GROUP)
    found["tied"] = Shared("tied", (N, K), 0, "one", found["codebook-16"])
    return found
