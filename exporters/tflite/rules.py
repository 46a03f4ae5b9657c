"""What each TFLite runtime does right with quantised operators, as measured on its wheel.

Each entry that keeps something from a runtime has a test on that runtime: what it refuses, what crashes it, or what it
computes wrongly without a word.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from exporters.tflite import registered
from exporters.tflite.versions import version_of
from mobile.errors import ExportError, UsageError

if TYPE_CHECKING:
    from exporters.tflite.ir import Program


@dataclass(frozen=True)
class Runtime:
    """A runtime release and how its quantised operators must be given.

    ``fc_channels``: a fully connected layer on float data may have weights with a scale per channel. ``int4``,
    ``int2``: the operators that take weights of that width. ``blocks``: fully connected int4 weights may have a scale
    per block. ``dequantize``: widths that a weight may be stored in before a DEQUANTIZE. ``registered``: the newest
    version of each operator.
    """

    name: str
    version: tuple[int, int]
    fc_channels: bool
    int4: frozenset[str]
    int2: frozenset[str]
    blocks: bool
    dequantize: tuple[str, ...]
    registered: Mapping[str, int]


# tflite-runtime 2.14: a fully connected layer with int8 weights per channel gives 0 + bias, without an error; int4
# convolutions end the process; INT2 and DEQUANTIZE of INT4 are refused.
TFLITE_2_14 = Runtime(
    "tflite-runtime 2.14", (2, 14), fc_channels=False, int4=frozenset({"FULLY_CONNECTED"}), int2=frozenset(),
    blocks=False, dequantize=("int8", "float16"), registered=registered.TFLITE_2_14,
)  # fmt: skip
# LiteRT 2.3: blockwise int2 is refused by XNNPACK, and int2 convolutions give infinite errors.
LITERT_2_3 = Runtime(
    "LiteRT 2.3", (2, 3), fc_channels=True, int4=frozenset({"FULLY_CONNECTED", "CONV_2D", "DEPTHWISE_CONV_2D"}),
    int2=frozenset({"FULLY_CONNECTED"}), blocks=True, dequantize=("int8", "int4", "float16"),
    registered=registered.LITERT_2_3,
)  # fmt: skip
RUNTIMES = (TFLITE_2_14, LITERT_2_3)

_PATTERN = re.compile(r"(litert|tflite)(?:[-_]runtime)?\s*(?::|-|==|=|@|_)?\s*v?(\d{1,3})\.(\d{1,4})(?:\.\d+)*", re.I)


def parse_runtime(text: str | None) -> Runtime:
    """The runtime of "litert:2.3" or "tflite:2.14". None, or an older or unknown release: what runs on both.

    >>> parse_runtime("tflite:2.14").name
    'tflite-runtime 2.14'
    """
    if text is None:
        return TFLITE_2_14
    found = _PATTERN.fullmatch(text.strip())
    if found is None:
        raise UsageError(f"target {text!r} is no TFLite runtime; known are litert:2.3 and tflite:2.14")
    if found[1].lower() == "tflite":
        return TFLITE_2_14
    return LITERT_2_3 if (int(found[2]), int(found[3])) >= LITERT_2_3.version else TFLITE_2_14


def check_loads(program: Program, runtime: Runtime) -> None:
    """ExportError names what the runtime would not load."""
    missing = refused(program, runtime)
    if missing:
        raise ExportError(f"{runtime.name} would not load the model: {', '.join(missing)}", "Choose another target.")


def refused(program: Program, runtime: Runtime) -> list[str]:
    """What the runtime would not load, such as "FULLY_CONNECTED version 12 (newest there: 10)"; empty when it loads."""
    found = set()
    for graph in program.graphs:
        for operator in graph.operators:
            version, newest = version_of(graph, operator), runtime.registered.get(operator.op)
            if newest is None:
                found.add(f"{operator.op} (not there)")
            elif version > newest:
                found.add(f"{operator.op} version {version} (newest there: {newest})")
    return sorted(found)
