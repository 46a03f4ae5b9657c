"""Small models, one for each way to carry a family: a single matrix product with its weight in the carrier."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exporters.probe.record import FLOAT
from mobile.errors import ExportError, UsageError

if TYPE_CHECKING:
    import onnx_ir as ir

    from exporters.targets import Target

WEIGHT = "weight"


@dataclass(frozen=True)
class Candidate:
    """A model file for one family in one carrier, a product with a weight of [columns, rows]."""

    family: str
    carrier: str
    rows: int
    columns: int
    path: Path


class _Forced:
    """A ranking with one carrier in it: the lowering tries that one first."""

    def __init__(self, carrier: str) -> None:
        self.carrier = carrier

    def rank(self, kind: str, rows: int, columns: int, m: int) -> list[tuple[str, float]]:
        """The carrier, whatever is asked."""
        return [(self.carrier, 0.0)]


def candidates(scheme: str, rows: int, columns: int, target: Target, folder: Path) -> Iterator[Candidate]:
    """A model in ``folder`` for every carrier that takes the scheme's weight on the target, each of them once.

    The scheme "float" gives the product that is not compressed. UsageError when the scheme is not one.
    """
    from exporters.lowering import CARRIERS

    if scheme == FLOAT:
        yield Candidate(FLOAT, "float32", rows, columns, _saved(_product(rows, columns, target), folder, FLOAT, 0))
        return
    compressed = _compressed(scheme, rows, columns)
    family = compressed.tensors[WEIGHT].family
    seen = set()
    for number, carrier in enumerate(CARRIERS):
        model = _product(rows, columns, target)
        name = _lowered(model, compressed, target, carrier.name)
        if name is None or name in seen:
            continue
        seen.add(name)
        yield Candidate(family, name, rows, columns, _saved(model, folder, scheme, number))


def _compressed(scheme: str, rows: int, columns: int) -> Any:
    import numpy as np

    from exporters.compress.schemes import compress, parse_scheme

    weight = np.random.default_rng(0).standard_normal((columns, rows)).astype(np.float32)
    made = compress({WEIGHT: (weight, "matmul", 1)}, parse_scheme(scheme))
    if WEIGHT not in made.tensors:
        raise UsageError(f"scheme {scheme!r} leaves a matrix product as it is", "Name a family, as int4 or ternary.")
    return made


def _lowered(model: ir.Model, compressed: Any, target: Target, carrier: str) -> str | None:
    """The carrier that was used, the one that is wanted if it takes the weight; None when none does."""
    from exporters.carriers.base import Wishes
    from exporters.lowering import lower

    try:
        lowered = lower(model, compressed, target, Wishes(measured=_Forced(carrier)))
    except ExportError:
        return None
    (name,) = lowered.carriers_of(WEIGHT)
    return name


def _product(rows: int, columns: int, target: Target) -> ir.Model:
    """x [batch, columns] times a float weight [columns, rows]."""
    import numpy as np
    import onnx_ir as ir

    shape = ir.Shape(["batch", columns])
    data = ir.Value(name="x", shape=shape, type=ir.TensorType(ir.DataType.FLOAT))
    values = np.random.default_rng(0).standard_normal((columns, rows)).astype(np.float32)
    weight = ir.Value(name=WEIGHT, const_value=ir.tensor(values, name=WEIGHT))
    node = ir.node("MatMul", [data, weight], name="product")
    output = node.outputs[0]
    output.name, output.shape, output.type = "y", ir.Shape(["batch", rows]), ir.TensorType(ir.DataType.FLOAT)
    opset = min(target.opset, 18)
    graph = ir.Graph([data], [output], nodes=[node], initializers=[weight], opset_imports={"": opset}, name="probe")
    return ir.Model(graph, ir_version=min(target.ir_version, 10))


def _saved(model: ir.Model, folder: Path, scheme: str, number: int) -> Path:
    import onnx_ir as ir

    plain = "".join(letter if letter.isalnum() else "-" for letter in scheme)
    path = folder / f"probe-{plain}-{number}-{len(list(folder.iterdir()))}.onnx"
    ir.save(model, path)
    return path
