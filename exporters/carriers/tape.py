"""Writes nodes and initialisers into an onnx-ir graph: decoding at the front, computing beside the node it replaces."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exporters.streaming import BIG_BYTES

if TYPE_CHECKING:
    import onnx_ir as ir
    from numpy.typing import NDArray

MICROSOFT = "com.microsoft"


class Tape:
    """Adds to one model. Equal initialisers are written once, and a decoded weight is made once for all its uses.

    Nodes go to the front of the main graph (they read initialisers only, so that a runtime folds them and every
    subgraph sees them) until :meth:`beside` names a node.
    Big initialisers go into files of ``folder``, where there is one, until the model is written.
    """

    def __init__(self, model: ir.Model, folder: Path | None = None) -> None:
        self.model = model
        self._folder = folder
        self.opset = model.opset_imports.get("", 0)
        self._front: list[ir.Node] = []
        self._before: ir.Node | None = None
        self._names: set[str] = {name for graph in model.graphs() for name in _names(graph)}
        self._constants: dict[tuple[str, ...], ir.Value] = {}
        self._kept: dict[tuple[Any, ...], ir.Value] = {}
        self.packed: dict[str, tuple[float, int]] = {}  # initialiser -> (bits, values) of those narrower than its dtype

    def beside(self, node: ir.Node | None) -> None:
        """What is added next goes before ``node``; None: to the front of the main graph."""
        self._before = node

    def keep(self, key: tuple[Any, ...], value: ir.Value) -> ir.Value:
        """Remembers a value at the front under a key."""
        self._kept[key] = value
        return value

    def kept(self, key: tuple[Any, ...]) -> ir.Value | None:
        """The value remembered under a key."""
        return self._kept.get(key)

    def constant(self, array: NDArray[Any], hint: str, values: tuple[float, int] | None = None) -> ir.Value:
        """An initialiser of the main graph; equal content is one initialiser. ``values``: (bits, number) of packed
        codes.
        """
        import numpy as np
        import onnx_ir as ir

        array = np.ascontiguousarray(array)
        digest = hashlib.sha256(array.reshape(-1).view(np.uint8).data).hexdigest()
        key = (str(array.dtype), str(array.shape), digest)
        if key not in self._constants:
            name = self._name(hint)
            value = ir.Value(name=name, const_value=self._tensor(array, name))
            value.shape, value.dtype = ir.Shape(array.shape), ir.DataType.from_numpy(array.dtype)
            self.model.graph.register_initializer(value)
            self._constants[key] = value
            if values is not None:
                self.packed[name] = values
        return self._constants[key]

    def _tensor(self, array: NDArray[Any], name: str) -> Any:
        """The array as a tensor: in memory, or in a file of the folder when it is big."""
        import onnx_ir as ir

        if self._folder is None or array.nbytes < BIG_BYTES:
            return ir.tensor(array, name=name)
        path = self._folder / f"{len(self._constants)}.bin"
        array.tofile(path)
        kind, shape = ir.DataType.from_numpy(array.dtype), ir.Shape(array.shape)
        return ir.ExternalTensor(path.name, 0, array.nbytes, kind, shape=shape, name=name, base_dir=self._folder)

    def op(
        self,
        kind: str,
        inputs: Sequence[ir.Value | None],
        hint: str,
        domain: str = "",
        outputs: int = 1,
        **attributes: Any,
    ) -> Any:
        """The output of a new node, a list of them where ``outputs`` is more than one."""
        import onnx_ir as ir

        node = ir.node(kind, list(inputs), attributes=attributes, domain=domain, num_outputs=outputs)
        node.name = self._name(f"{hint}/{kind}")
        for number, value in enumerate(node.outputs):
            value.name = self._name(f"{hint}_{kind.lower()}{number or ''}")
        if self._before is None:
            self._front.append(node)
        else:
            assert self._before.graph is not None
            self._before.graph.insert_before(self._before, node)
        if domain:
            self.model.opset_imports.setdefault(domain, 1)
        return node.outputs[0] if outputs == 1 else list(node.outputs)

    def ints(self, *numbers: int) -> ir.Value:
        """An int64 initialiser: a shape or axes."""
        import numpy as np

        return self.constant(
            np.array(numbers, np.int64), "shape_" + "_".join(str(n).replace("-", "m") for n in numbers)
        )

    def reshape(self, value: ir.Value, shape: Sequence[int], hint: str) -> ir.Value:
        """The value in another shape."""
        found: ir.Value = self.op("Reshape", [value, self.ints(*shape)], hint)
        return found

    def finish(self) -> None:
        """Puts what was collected for the front there."""
        graph = self.model.graph
        first = next(iter(graph), None)
        if first is None:
            graph.extend(self._front)
        elif self._front:
            graph.insert_before(first, self._front)
        self._front = []

    def _name(self, hint: str) -> str:
        name, number = hint, 1
        while name in self._names:
            number += 1
            name = f"{hint}.{number}"
        self._names.add(name)
        return name


def _names(graph: Any) -> set[str]:
    names = {value.name for value in (*graph.inputs, *graph.initializers.values())}
    for node in graph:
        names.add(node.name or "")
        names.update(value.name for value in node.outputs)
    return names
