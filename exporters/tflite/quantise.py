"""The schemes of a TFLite export: from a float program to one that a runtime computes rightly."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from exporters.tflite.mixed import accuracy, remarks, static_int8
from exporters.tflite.passes import clean
from exporters.tflite.plain import float_program
from exporters.tflite.quantise_weights import quantise_weights
from exporters.tflite.rules import Runtime, check_loads
from mobile.errors import UsageError

if TYPE_CHECKING:
    from exporters.tflite.ir import Program
    from exporters.tflite.running import Feeds

SCHEMES = ("int8", "int8-dynamic", "int4", "int2")


@dataclass
class Quantised:
    """A quantised program and, for its manifest, the recipe: what was done to how many operators and weights.

    ``notes``: what a user should know of it.
    """

    program: Program
    recipe: dict[str, Any]
    notes: list[str] = field(default_factory=list)


def quantise(
    program: Program, scheme: str, runtime: Runtime, feeds: Iterable[Feeds] = (), *, integer_io: bool = False
) -> Quantised:
    """The float program in one of SCHEMES, as the runtime takes it.

    "int8" is static and needs ``feeds`` (inputs by the signature's names) to calibrate on; ``integer_io`` makes its
    inputs and outputs int8, too. A program that was read from a file may have its weights packed: they are unpacked
    first, and activations move into the operators before them. UsageError for another scheme; InputError for unusable
    feeds; ExportError when nothing can be quantised.
    """
    source = float_program(program)
    clean(source.main)
    if scheme == "int8":
        small, report = static_int8(source, feeds, runtime, integer_io=integer_io)
        recipe: dict[str, Any] = {"scheme": scheme, "int8": dict(report.int8), "float32": dict(report.float32)}
        recipe |= {"items": report.items, "stored": dict(report.ways), **accuracy(report)}
        return _checked(Quantised(small, recipe, remarks(report)), runtime)
    if scheme not in SCHEMES:
        raise UsageError(f"scheme {scheme!r} is not one of {', '.join(SCHEMES)}")
    small, stored = quantise_weights(source, scheme, runtime)
    return _checked(Quantised(small, {"scheme": scheme, "stored": dict(stored.ways)}), runtime)


def _checked(found: Quantised, runtime: Runtime) -> Quantised:
    check_loads(found.program, runtime)
    return found
