"""Schemes: which family each weight gets, as one line of text. Parsing needs no numpy.

::

    ternary                                        every weight
    int4:g=64:asym                                 with options
    layers.0.*=int8,*.mlp.*=ternary                by name; the first that fits counts, the rest stay float
    @gather=int8,@conv=float,binary:g=128          by kind of operator; a last part without a name is for the rest
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from exporters.compress.weights import KINDS
from mobile.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from exporters.compress.tensors import CompressedModel

MAX_TEXT = 64 << 10
MAX_RULES = 1000
MAX_PART = 1000


@dataclass(frozen=True)
class Option:
    """One option of a family: ``kind`` "int", "float", "flag", "group" (a size, row or tensor), "block" or "choice"."""

    kind: str
    default: Any
    help: str
    low: float = 0
    high: float = 0
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Family:
    """A family that float weights can be turned into."""

    summary: str
    options: Mapping[str, Option] = field(default_factory=dict)


_ROW, _TENSOR = "row", "tensor"


def _group(default: int | str) -> Option:
    return Option("group", default, "columns that share a scale: a number, row or tensor", 1, 1 << 20)


_SEARCH = Option("flag", True, "search the clipping with the least squared error; no-search keeps the extremes")


def _integers(bits: str, group: int | str, symmetric: bool) -> Family:
    options = {
        "g": _group(group), "search": _SEARCH,
        "asym": Option("flag", not symmetric, "with zero points (sym: without)"),
    }  # fmt: skip
    return Family(f"{bits} integers, round to nearest", options)


_NBIT = {"b": Option("int", 4, "bits", 1, 8), **_integers("", 128, False).options}
_FLOAT_OPTIONS = {
    "scale": Option("choice", "none", "a float32 scale for each", choices=("none", "tensor", "row")),
    "round": Option("choice", "nearest", "rounding", choices=("nearest", "zero", "up", "down", "stochastic")),
    "seed": Option("int", 0, "of stochastic rounding", 0, 1 << 31),
}
_SMALL_OPTIONS = {**_FLOAT_OPTIONS, "scale": replace(_FLOAT_OPTIONS["scale"], default=_ROW)}
_MX_OPTIONS = {name: _FLOAT_OPTIONS[name] for name in ("round", "seed")}

FAMILIES: dict[str, Family] = {
    "float": Family("left as it is"),
    "int8": _integers("8-bit", _ROW, True),
    "int4": _integers("4-bit", 128, True),
    "int2": _integers("2-bit", 128, False),
    "nbit": Family("integers of 1 to 8 bits, round to nearest", _NBIT),
    "binary": Family("sign and mean magnitude, 1 bit", {
        "g": _group(_ROW), "offset": Option("flag", False, "the group's mean beside the scale"),
    }),
    "ternary": Family("-1, 0, 1 times a scale, 2 bits", {
        "g": _group(_TENSOR), "fit": Option("choice", "absmean", "codes and scale", choices=("absmean", "twn")),
        "trits": Option("flag", False, "five in a byte of the file: 1.6 bits instead of 2, slower to load"),
    }),
    "dual-binary": Family("a1 * b1 + a2 * b2, 2 bits", {"g": _group(128)}),
    "power-of-two": Family("sign and exponent without zero, 4 bits", {
        "g": _group(_ROW), "e": Option("int", 7, "exponents 0..e-1; 7 fits int8, the paper has 8", 2, 8),
    }),
    "codebook": Family("k-means table, 4 or 8 bits", {
        "b": Option("int", 4, "bits, 4 or 8", 4, 8),
        "per": Option("choice", _TENSOR, "a table for each", choices=("tensor", "row")),
    }),
    "block-pruned": Family("the blocks of least magnitude are zero", {
        "block": Option("block", (64, 64), "rows x columns of a block, or one number for both", 1, 4096),
        "zero": Option("float", 0.75, "share of the blocks that is zero", 0.01, 0.99),
        "uneven": Option("flag", False, "rows of blocks may keep different numbers of blocks"),
        "values": Option("choice", "float", "how kept blocks are stored", choices=("float", "int8", "int4")),
    }),
    "sparse": Family("the weights of least magnitude are zero", {
        "zero": Option("float", 0.5, "share of the weights that is zero", 0.01, 0.999),
    }),
    "2:4": Family("two of four neighbouring weights are zero"),
    "low-rank": Family("two factors, by singular values", {
        "r": Option("int", 0, "rank; 0: as ratio says", 0, 1 << 20),
        "ratio": Option("float", 0.25, "rank as a share of the smaller side", 0.001, 1),
    }),
    "shared": Family("weights of equal size that match one pattern become one", {
        "merge": Option("choice", "equal", "only equal ones, or all as their mean", choices=("equal", "mean")),
        "of": Option("choice", "float", "the family of the one", choices=(
            "float", "int8", "int4", "int2", "binary", "ternary", "dual-binary", "power-of-two", "codebook")),
    }),
    **{name: Family("floating point", _FLOAT_OPTIONS) for name in ("fp16", "bf16")},
    **{name: Family("floating point with a scale", _SMALL_OPTIONS) for name in (
        "fp8e4m3", "fp8e5m2", "fp6e3m2", "fp6e2m3", "fp4e2m1")},
    **{name: Family("MX: blocks of 32 with a power-of-two scale", _MX_OPTIONS) for name in (
        "mxfp8e4m3", "mxfp8e5m2", "mxfp6e3m2", "mxfp6e2m3", "mxfp4", "mxint8")},
}  # fmt: skip
ALIASES = {
    "w8": "int8", "w4": "int4", "w2": "int2", "fp8": "fp8e4m3", "mxfp8": "mxfp8e4m3", "mxfp6": "mxfp6e3m2",
    "sparse24": "2:4", "pot": "power-of-two", "1bit": "binary", "none": "float",
}  # fmt: skip
_WIDTH = re.compile(r"int([13567])")
_OWN_FLOAT = re.compile(r"e([2-8])m([1-9]|10)")
_FAMILY_NAMES = "|".join(sorted(map(re.escape, (*FAMILIES, *ALIASES)), key=len, reverse=True))
_RULE = re.compile(
    rf"(?:(?P<pattern>[^,]+?)=)??(?P<family>{_FAMILY_NAMES}|int[13567]|e[2-8]m(?:10|[1-9]))"
    r"(?P<options>(?::[a-z-]+(?:=[^:=,]*)?)*)"
)


@dataclass(frozen=True)
class Rule:
    """A family for the weights whose name or kind ("@conv") fits ``pattern``; ``options`` hold every default."""

    pattern: str
    family: str
    options: Mapping[str, Any]
    text: str

    def fits(self, name: str, kind: str) -> bool:
        """Whether this weight is meant."""
        if self.pattern.startswith("@"):
            return fnmatchcase(kind, self.pattern[1:])
        return fnmatchcase(name, self.pattern)


@dataclass(frozen=True)
class Scheme:
    """Rules in order; the first that fits a weight counts."""

    rules: tuple[Rule, ...]
    text: str

    def rule_for(self, name: str, kind: str) -> Rule | None:
        """The rule for this weight, None where it stays float."""
        found = next((rule for rule in self.rules if rule.fits(name, kind)), None)
        return None if found is None or found.family == "float" else found


def parse_scheme(text: str) -> Scheme:
    """The scheme of a line such as "int4:g=64" or "layers.0.*=int8,*.mlp.*=ternary".

    UsageError names the part that is wrong, and lists the families or the family's options.

    >>> parse_scheme("@conv=int8,ternary").rule_for("fc.weight", "gemm").family
    'ternary'
    """
    if not text.strip() or len(text) > MAX_TEXT:
        raise UsageError(
            "the scheme is empty" if not text.strip() else f"a scheme of {len(text)} characters is too long"
        )
    parts = text.split(",")
    if len(parts) > MAX_RULES or max(map(len, parts)) > MAX_PART:
        raise UsageError(f"a scheme has at most {MAX_RULES} parts of {MAX_PART} characters")
    rules = tuple(_rule(part.strip()) for part in parts)
    for rule in rules[:-1]:
        if rule.pattern == "*":
            raise UsageError(f"scheme: {rule.text!r} takes all weights, so what comes after it never counts")
    return Scheme(rules, text)


def compress(weights: Mapping[str, tuple[NDArray[Any], str, int]], scheme: Scheme) -> CompressedModel:
    """The weights that the scheme compresses; see ``fit.compress_all``."""
    from exporters.compress.fit import compress_all

    return compress_all(weights, scheme)


def scheme_help() -> str:
    """The families and their options, a line each."""
    return "\n".join(_help_lines())


def _help_lines() -> Iterator[str]:
    for name, family in FAMILIES.items():
        yield f"{name}: {family.summary}"
        for key, option in family.options.items():
            default = "x".join(map(str, option.default)) if option.kind == "block" else option.default
            words = f" ({', '.join(option.choices)})" if option.choices else ""
            yield f"  {key}: {option.help}{words}; default {str(default).lower()}"


def _rule(part: str) -> Rule:
    found = _RULE.fullmatch(part)
    own = None if found is None else _OWN_FLOAT.fullmatch(found["family"])
    if found is None or (own is not None and int(own[1]) + int(own[2]) > 15):
        wanted = part.partition(":")[0].rpartition("=")[2]
        raise UsageError(
            f"scheme: {wanted!r} in {part!r} is not a family",
            f"Families: {', '.join(FAMILIES)}; e5m4 and the like; written NAME, NAME:OPTION=VALUE or PATTERN=NAME.",
        )
    pattern = found["pattern"] or "*"
    if pattern.startswith("@") and not any(fnmatchcase(kind, pattern[1:]) for kind in KINDS):
        raise UsageError(
            f"scheme: {pattern!r} is no kind of weight", f"Kinds: {', '.join('@' + kind for kind in KINDS)}."
        )
    written = found["family"]
    family, given = ALIASES.get(written, written), {}
    if width := _WIDTH.fullmatch(written):
        family, given = "nbit", {"b": int(width[1])}
    options = _options(family, found["options"], part)
    return Rule(pattern, family, {**options, **given}, part)


def _options(family: str, text: str, part: str) -> dict[str, Any]:
    if _OWN_FLOAT.fullmatch(family):
        known: Mapping[str, Option] = _FLOAT_OPTIONS
    else:
        known = FAMILIES[family].options
    values = {name: option.default for name, option in known.items()}
    for item in text.split(":")[1:]:
        name, _, value = ("no-asym" if item == "sym" else item).partition("=")
        negated = name.startswith("no-") and name[3:] in known
        option = known.get(name[3:] if negated else name)
        if option is None:
            names = ", ".join(known) or "none"
            raise UsageError(f"scheme: {family} has no option {name!r} (in {part!r}); it has {names}")
        if negated:
            name, value = name[3:], "no"
        values[name] = _value(option, value, f"{name}={value}" if value else name, part)
    if family == "codebook" and values["b"] not in (4, 8):
        raise UsageError(f"scheme: b={values['b']} of codebook is not 4 or 8 (in {part!r})")
    return values


def _value(option: Option, text: str, said: str, part: str) -> Any:
    try:
        if option.kind == "flag":
            return {"": True, "yes": True, "no": False}[text]
        if option.kind == "choice":
            return {choice: choice for choice in option.choices}[text]
        if option.kind == "group" and text in (_ROW, _TENSOR):
            return text
        if option.kind == "block":
            sides = [int(side) for side in text.split("x")]
            pair = (sides[0], sides[-1])
            return {1: pair, 2: pair}[len(sides) * all(option.low <= side <= option.high for side in pair)]
        number: float = float(text) if option.kind == "float" else int(text)
        return {True: number}[option.low <= number <= option.high]
    except (ValueError, KeyError) as error:
        wanted = ", ".join(option.choices) or f"{option.kind} within {option.low}..{option.high}"
        wanted = "yes or no" if option.kind == "flag" else wanted
        raise UsageError(f"scheme: {said!r} in {part!r} is not usable; {option.help}: {wanted}") from error
