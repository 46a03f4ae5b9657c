"""The one door to the TFLite runtime on this host: LiteRT loads a model, takes named inputs, gives outputs in order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from exporters.runtime import one_line
from mobile.errors import ExportError

if TYPE_CHECKING:
    from numpy.typing import NDArray

Feeds = Mapping[str, "NDArray[Any]"]


class LiteSession:
    """A TFLite model on the CPU. ``name`` is what messages call it. ExportError when it cannot be loaded or run.

    Inputs are fed by their tensors' names, or by the signature's where the model has one; shapes may differ from call
    to call where the model's are free. ``keep``: every tensor is kept, for `value`; XNNPACK is then left out, since it
    hides them.
    """

    def __init__(self, content: bytes, name: str, *, keep: bool = False, threads: int = 1) -> None:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        kind = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES if keep else OpResolverType.AUTO
        self.name = name
        try:
            self._interpreter: Any = Interpreter(
                model_content=content,
                num_threads=threads,
                experimental_op_resolver_type=kind,
                experimental_preserve_all_tensors=keep,
            )
            self._places = _places(self._interpreter)
            self._known = {entry["name"]: entry["index"] for entry in self._interpreter.get_input_details()}
            self._known |= self._places
            self._outputs = [entry["index"] for entry in self._interpreter.get_output_details()]
        except (RuntimeError, ValueError) as error:
            raise ExportError(f"{name}: LiteRT cannot load it: {one_line(error)}") from error
        self._shapes: dict[str, tuple[int, ...]] = {}

    @property
    def inputs(self) -> list[str]:
        """The names of the inputs."""
        return list(self._places)

    def details(self) -> list[tuple[str, list[int], str]]:
        """Of each input in order: its name, its dimensions (-1: free) and its dtype."""
        names = {place: name for name, place in self._places.items()}
        return [
            (names[entry["index"]], [int(size) for size in entry["shape_signature"]], np.dtype(entry["dtype"]).name)
            for entry in self._interpreter.get_input_details()
        ]

    def scales(self) -> tuple[tuple[float, int] | None, tuple[float, int] | None]:
        """Scale and zero point of the first input and the first output; None for each that is not quantised."""
        entries = self._interpreter.get_input_details()[0], self._interpreter.get_output_details()[0]
        first, second = (
            (float(scale), int(zero)) if scale else None for scale, zero in (entry["quantization"] for entry in entries)
        )
        return first, second

    def run(self, feeds: Feeds) -> list[NDArray[Any]]:
        """The outputs in order. ExportError when the model refuses the inputs."""
        try:
            self._resize(feeds)
            for name, array in feeds.items():
                self._interpreter.set_tensor(self._known[name], np.ascontiguousarray(array).reshape(np.shape(array)))
            self._interpreter.invoke()
            return [np.array(self._interpreter.get_tensor(place)) for place in self._outputs]
        except (RuntimeError, ValueError, KeyError) as error:
            shapes = ", ".join(f"{key} {value.dtype} {list(value.shape)}" for key, value in feeds.items())
            raise ExportError(f"{self.name}: LiteRT refuses the inputs {shapes}: {one_line(error)}") from error

    def value(self, place: int) -> NDArray[Any] | None:
        """A tensor of the main graph after a run, by its number; None when the runtime does not hold it."""
        try:
            return np.array(self._interpreter.get_tensor(place))
        except ValueError:
            return None

    def _resize(self, feeds: Feeds) -> None:
        shapes = {name: tuple(array.shape) for name, array in feeds.items()}
        if shapes == self._shapes:
            return
        for name, shape in shapes.items():
            self._interpreter.resize_tensor_input(self._known[name], list(shape), strict=False)
        self._interpreter.allocate_tensors()
        self._shapes = shapes


def _places(interpreter: Any) -> dict[str, int]:
    """The inputs' tensor numbers by name, those of the signature where it has one."""
    details = interpreter.get_input_details()
    signatures = interpreter.get_signature_list()
    if not signatures:
        return {entry["name"]: entry["index"] for entry in details}
    runner = interpreter.get_signature_runner(next(iter(signatures)))
    named = {entry["index"]: name for name, entry in runner.get_input_details().items()}
    return {named.get(entry["index"], entry["name"]): entry["index"] for entry in details}
