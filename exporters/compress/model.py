"""From an ONNX file to its compressed weights, without writing a graph: for looking at a family, or for a spec file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from exporters.compress.fit import compress_all
from exporters.compress.schemes import parse_scheme
from exporters.compress.tensors import CompressedModel
from exporters.compress.weights import Weight, find_weights
from exporters.sources import load_ir
from mobile.formats import index


def compress_onnx(path: str | Path, scheme: str) -> CompressedModel:
    """The weights of an .onnx file that the scheme compresses. ``spec.write_spec`` makes a file of them.

    UsageError for a scheme that is none or fits no weight, ModelError for a file that is none, NaN and infinity.
    """
    parsed = parse_scheme(scheme)
    index(Path(path))  # says what is wrong with a file that is no model
    found = {weight.name: weight for weight in find_weights(load_ir(Path(path)))}
    meant = {name: weight for name, weight in found.items() if parsed.rule_for(name, weight.kind) is not None}
    made = compress_all(_OnDemand(meant or found), parsed)
    return CompressedModel(made.tensors, {**made.origin, "file": Path(path).name})


class _OnDemand(Mapping[str, tuple[NDArray[Any], str, int]]):
    """Float values are read when they are asked for, so that those of one weight are in memory at a time."""

    def __init__(self, weights: Mapping[str, Weight]) -> None:
        self._weights = weights

    def __getitem__(self, name: str) -> tuple[NDArray[Any], str, int]:
        weight = self._weights[name]
        return weight.array(), weight.kind, weight.axis

    def __iter__(self) -> Iterator[str]:
        return iter(self._weights)

    def __len__(self) -> int:
        return len(self._weights)
