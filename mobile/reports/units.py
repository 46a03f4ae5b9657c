"""Figures as people read them: the only place where SI values become "12.3 ms". A missing value is "-"."""

from __future__ import annotations

import math

MISSING = "-"
_TIME = ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"), (1e-9, "ns"))
_ENERGY = ((1.0, "J"), (1e-3, "mJ"), (1e-6, "uJ"))
_FREQUENCY = ((1e9, "GHz"), (1e6, "MHz"), (1e3, "kHz"), (1.0, "Hz"))
_BINARY = ((2.0**30, "GiB"), (2.0**20, "MiB"), (2.0**10, "KiB"))


def pretty_seconds(value: float | None) -> str:
    """Three digits and a unit from ns to s.

    >>> pretty_seconds(0.01234), pretty_seconds(98.76), pretty_seconds(1.5e-6), pretty_seconds(None)
    ('12.3 ms', '98.8 s', '1.50 us', '-')
    """
    return _scaled(value, _TIME)


def pretty_joules(value: float | None) -> str:
    """Three digits and a unit from uJ to J.

    >>> pretty_joules(0.0123)
    '12.3 mJ'
    """
    return _scaled(value, _ENERGY)


def pretty_bytes(value: float | None) -> str:
    """Three digits and a binary unit.

    >>> pretty_bytes(1_500_000), pretty_bytes(800), pretty_bytes(None)
    ('1.43 MiB', '800 B', '-')
    """
    if value is None:
        return MISSING
    for scale, unit in _BINARY:
        if abs(value) >= scale:
            return f"{_three_digits(value / scale)} {unit}"
    return f"{value:.0f} B"


def pretty_number(value: float | None) -> str:
    """Three digits, or all of a whole number from 1000 on.

    >>> pretty_number(123.456), pretty_number(0.00123), pretty_number(123456.7)
    ('123', '0.00123', '123457')
    """
    return MISSING if value is None else _three_digits(value)


def pretty_share(value: float | None) -> str:
    """A share (0 to 1) in per cent.

    >>> pretty_share(0.0012)
    '0.120 %'
    """
    return MISSING if value is None else f"{_three_digits(100 * value)} %"


def pretty_degrees(value: float | None) -> str:
    """Degrees Celsius to a tenth.

    >>> pretty_degrees(71.25)
    '71.2 C'
    """
    return MISSING if value is None else f"{value:.1f} C"


def pretty_hertz(value: float | None) -> str:
    """Three digits and a unit from Hz to GHz.

    >>> pretty_hertz(2.4e9), pretty_hertz(960016128.0), pretty_hertz(0.0)
    ('2.40 GHz', '960 MHz', '0 Hz')
    """
    return _scaled(value, _FREQUENCY)


def pretty_watts(value: float | None) -> str:
    """Watts with three digits."""
    return MISSING if value is None else f"{_three_digits(value)} W"


def _scaled(value: float | None, units: tuple[tuple[float, str], ...]) -> str:
    if value is None:
        return MISSING
    for scale, unit in units:
        # Half a digit below the unit: 999.96 ms is 1.00 s, not 1000 ms.
        if abs(value) >= scale * 0.9995:
            return f"{_three_digits(value / scale)} {unit}"
    scale, unit = units[-1]
    if value and abs(value) < 5e-4 * scale:
        return f"{value / scale:.3f} {unit}"  # the rest of a difference, not a dozen zeros
    return f"{_three_digits(value / scale)} {unit}"


def _three_digits(value: float) -> str:
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    rounded = round(value, _decimals(value))
    return f"{rounded:.{_decimals(rounded)}f}"  # again: 9.996 became 10.0


def _decimals(value: float) -> int:
    return max(0, 2 - math.floor(math.log10(abs(value))))
