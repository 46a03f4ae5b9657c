"""Small floating-point formats, exactly: every code's value, and the nearest code of a value.

Sources: IEEE 754-2019 (binary16 and the layout of the others), bfloat16 (the upper half of float32), "OCP 8-bit
Floating Point Specification" 1.0 (fp8e4m3 without infinities, fp8e5m2) and "OCP Microscaling Formats (MX)
Specification" 1.0 (fp6, fp4, int8 elements; blocks of 32 with a power-of-two scale, E8M0).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporters.compress.base import CompressedTensor, packed_row_bytes
from exporters.compress.layout import spread
from mobile.errors import UsageError

MX_GROUP = 32  # elements that share a scale in all formats of the MX specification


@dataclass(frozen=True)
class FloatFormat:
    """Sign, ``exponent_bits`` and ``mantissa_bits``; subnormals always; bias 2**(exponent_bits - 1) - 1.

    ``specials``: "ieee" (the top exponent is infinity and NaN), "fn" (only all ones is NaN), "none" (all are finite);
    "int" is a two's complement integer with ``mantissa_bits`` behind the point.
    """

    name: str
    exponent_bits: int
    mantissa_bits: int
    specials: str

    @property
    def width(self) -> int:
        """Bits of a code."""
        return 1 + self.exponent_bits + self.mantissa_bits + (self.specials == "int")

    @property
    def largest(self) -> float:
        """The largest finite value."""
        values = self.values()
        return float(values[np.isfinite(values)].max())

    def values(self) -> NDArray[np.float32]:
        """The value of every code, exact in float32 (NaN and infinity where the format has them)."""
        return _values(self)

    def encode(self, values: NDArray[Any], rounding: str = "nearest", seed: int = 0) -> NDArray[Any]:
        """The codes of the values; what is too large becomes the largest finite value. NaN is not accepted.

        ``rounding``: "nearest" (ties to the even code), "zero", "up", "down", or "stochastic" (up with the probability
        that keeps the mean, from ``seed``).
        """
        magnitude = np.abs(values.astype(np.float64))
        negative = np.signbit(values)
        if rounding == "nearest":
            middles = _middles(self)
            code = np.searchsorted(middles, magnitude, side="left")
            tie = middles[np.minimum(code, len(middles) - 1)] == magnitude
            code = code + (tie & (code % 2 == 1))
        else:
            code = _directed(self, magnitude, negative, rounding, seed)
        if self.specials == "int":
            code = np.where(negative, -code, code) & ((1 << self.width) - 1)
        else:
            code = code | (negative.astype(np.int64) << (self.width - 1))
        codes: NDArray[Any] = code.astype(np.uint8 if self.width <= 8 else np.uint16)
        return codes


FORMATS: dict[str, FloatFormat] = {
    form.name: form
    for form in (
        FloatFormat("fp16", 5, 10, "ieee"),
        FloatFormat("bf16", 8, 7, "ieee"),
        FloatFormat("fp8e4m3", 4, 3, "fn"),
        FloatFormat("fp8e5m2", 5, 2, "ieee"),
        FloatFormat("fp6e3m2", 3, 2, "none"),
        FloatFormat("fp6e2m3", 2, 3, "none"),
        FloatFormat("fp4e2m1", 2, 1, "none"),
        FloatFormat("int8", 0, 6, "int"),
    )
}
MX_ELEMENTS = {
    "mxfp8e4m3": "fp8e4m3", "mxfp8e5m2": "fp8e5m2", "mxfp6e3m2": "fp6e3m2", "mxfp6e2m3": "fp6e2m3",
    "mxfp4": "fp4e2m1", "mxint8": "int8",
}  # fmt: skip
EMULATED = (*(name for name in FORMATS if name != "int8"), *MX_ELEMENTS)
_OWN = re.compile(r"e([2-8])m([1-9]|10)")


def float_format(name: str) -> FloatFormat:
    """The format of a weight's elements: "fp16", "mxfp4" (its fp4e2m1), or "e5m4" for 5 exponent and 4 mantissa bits.

    Own formats are laid out as IEEE 754 does, infinity and NaN included; at most 16 bits. UsageError lists the names.
    """
    known = FORMATS.get(MX_ELEMENTS.get(name, name))
    if known is not None and (name != "int8"):
        return known
    own = _OWN.fullmatch(name)
    if own is None or 1 + int(own[1]) + int(own[2]) > 16:
        raise UsageError(
            f"number format {name!r} is not known", f"Known: {', '.join(EMULATED)}, or own ones like e5m4."
        )
    return FloatFormat(name, int(own[1]), int(own[2]), "ieee")


@dataclass(frozen=True, eq=False)
class Emulated(CompressedTensor):
    """w = value of the code in ``format``, times the group's scale where there are ``scales``.

    ``format`` is a name of ``float_format``. The scales of an "mx..." format are powers of two, stored as 8-bit
    exponents (E8M0); others are float32. ``codes`` are uint8, or uint16 for more than 8 bits.
    """

    codes: NDArray[np.uint8] | NDArray[np.uint16]
    format: str
    scales: NDArray[np.float32] | None = None
    group: int = MX_GROUP

    @property
    def family(self) -> str:
        """The format's name."""
        return self.format

    @property
    def width(self) -> int:
        """Bits of a code."""
        return float_format(self.format).width

    @property
    def packed_bytes(self) -> int:
        """Codes at their width, 1 byte a scale of an MX format, 4 of another."""
        scales = 0 if self.scales is None else self.scales.size * (1 if self.format.startswith("mx") else 4)
        return self.rows * packed_row_bytes(self.columns, self.width) + scales

    def check(self) -> None:
        """Every code is a finite number; MX formats have power-of-two scales."""
        self.check_codes("codes", self.codes, 0, (1 << self.width) - 1)
        if self.codes.dtype != (np.uint8 if self.width <= 8 else np.uint16):
            raise self.wrong(f"codes of {self.width} bits must not be {self.codes.dtype}")
        if not np.isfinite(float_format(self.format).values())[self.codes].all():
            raise self.wrong("codes stand for NaN or infinity")
        if self.scales is not None:
            self.check_groups("scales", self.scales, self.group)
        if self.format.startswith("mx"):
            if self.scales is None:
                raise self.wrong("scales are missing")
            if not (np.frexp(self.scales)[0] == 0.5).all():
                raise self.wrong("scales must be powers of two")

    def dequantise_rows(self) -> NDArray[np.float32]:
        """values[code], exact; with scales one rounding (none for powers of two within float32's range)."""
        values = float_format(self.format).values()[self.codes]
        return values if self.scales is None else values * spread(self.scales, self.rows, self.columns, self.group)


@lru_cache(maxsize=32)
def _values(form: FloatFormat) -> NDArray[np.float32]:
    codes = np.arange(1 << form.width)
    if form.specials == "int":
        signed = np.where(codes >= 1 << (form.width - 1), codes - (1 << form.width), codes)
        table = (signed / (1 << form.mantissa_bits)).astype(np.float32)
    else:
        table = _decoded(form, codes)
    table.flags.writeable = False
    return table


def _decoded(form: FloatFormat, codes: NDArray[np.int64]) -> NDArray[np.float32]:
    mantissa = codes & ((1 << form.mantissa_bits) - 1)
    top = (1 << form.exponent_bits) - 1
    exponent = (codes >> form.mantissa_bits) & top
    bias = (1 << (form.exponent_bits - 1)) - 1
    significand = mantissa + np.where(exponent > 0, 1 << form.mantissa_bits, 0)
    power = np.maximum(exponent, 1) - bias - form.mantissa_bits
    values = np.ldexp(significand.astype(np.float64), power)
    if form.specials == "ieee":
        values = np.where(exponent == top, np.where(mantissa == 0, np.inf, np.nan), values)
    elif form.specials == "fn":
        values = np.where((exponent == top) & (mantissa == (1 << form.mantissa_bits) - 1), np.nan, values)
    signed: NDArray[np.float32] = np.where(codes >> (form.width - 1), -values, values).astype(np.float32)
    return signed


def _finite(form: FloatFormat) -> NDArray[np.float64]:
    """The finite values from zero up; in every such format they rise with the code."""
    positive = form.values()[: 1 << (form.width - 1)].astype(np.float64)
    return positive[np.isfinite(positive)]


@lru_cache(maxsize=32)
def _middles(form: FloatFormat) -> NDArray[np.float64]:
    finite = _finite(form)
    middles: NDArray[np.float64] = (finite[:-1] + finite[1:]) / 2
    return middles


def _directed(
    form: FloatFormat, magnitude: NDArray[np.float64], negative: NDArray[np.bool_], rounding: str, seed: int
) -> NDArray[np.int64]:
    """Codes of magnitudes that are not rounded to nearest."""
    finite = _finite(form)
    below = np.searchsorted(finite, magnitude, side="right") - 1
    above = np.minimum(below + (finite[below] < magnitude), len(finite) - 1)
    if rounding == "zero":
        return below
    if rounding == "stochastic":
        gap = np.where(above > below, finite[above] - finite[below], 1)
        share = (magnitude - finite[below]) / gap
        return np.where(np.random.default_rng(seed).random(magnitude.shape) < share, above, below)
    return np.where(negative == (rounding == "down"), above, below)


def power_of_two_scale(largest: NDArray[np.float32], form: FloatFormat) -> NDArray[np.float32]:
    """The shared scale of MX blocks from their largest magnitudes: 2**(floor(log2(largest)) - emax).

    emax is the exponent of the format's largest number. Source: MX specification 1.0, section 6.3; an all-zero block
    gets 2**-127, and the exponent is kept within E8M0's -127..127.
    """
    top = int(np.frexp(form.largest)[1]) - 1
    exponent = np.frexp(largest)[1] - 1 - top
    exponent = np.where(largest > 0, exponent, -127)
    scales: NDArray[np.float32] = np.ldexp(np.float32(1), np.clip(exponent, -127, 127)).astype(np.float32)
    return scales
