"""What is exported: an .onnx file or a PyTorch program, brought to an ONNX file and a way to ask the source itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exporters.generate import generate
from exporters.runtime import Session, one_line, onnx_errors
from exporters.targets import Target
from mobile.errors import ModelError, UsageError
from mobile.formats import ModelIndex, index, sniff

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PROGRAM = re.compile(r"(?P<file>.+\.py):(?P<factory>[A-Za-z_][A-Za-z_0-9]*)")
LARGE_BYTES = 512 << 20  # of a model: from here on one session is in memory at a time, and weights one by one
PARITY_INPUTS = 3  # generated ones; the last has two items where the batch is free


@dataclass(frozen=True)
class Source:
    """A source, ready to be processed.

    ``model`` is the ONNX file to work on: the source's own, or one made from it in the staging folder. ``run`` asks the
    source itself: the torch module, or onnxruntime on the source file. ``origin`` goes into the manifest; it names the
    file, not its folder.
    """

    name: str
    model: Path
    index: ModelIndex
    origin: dict[str, Any]
    run: Callable[[dict[str, NDArray[Any]]], list[NDArray[Any]]]
    feeds: list[dict[str, NDArray[Any]]] = field(default_factory=list)  # to compare on, when none are given
    feeds_are: str = "generated"
    notes: list[str] = field(default_factory=list)
    tools: dict[str, str] = field(default_factory=dict)

    @property
    def large(self) -> bool:
        """Whether two of its kind in memory would be one too many."""
        return self.index.size_bytes >= LARGE_BYTES


def open_source(
    source: str | Path,
    folder: Path,
    target: Target | None,
    dims: Mapping[str, int],
    seed: int,
    example: Sequence[str] = (),
    need_feeds: bool = True,
) -> Source:
    """The source of that name: ``file.onnx``, ``file.py:factory`` or ``file.pt2``.

    ``folder`` takes what has to be made on the way. ``example`` are inputs as "name:shape:dtype" for a PyTorch file
    that gives none.
    """
    program = _PROGRAM.fullmatch(str(source))
    if program is not None:
        from exporters.torch_source import open_program

        return open_program(Path(program["file"]), program["factory"], folder, target, example, seed)
    path = Path(source)
    if path.suffix == ".py":
        raise UsageError(f"{path}: name the function that makes the model", f"Write {path}:FACTORY.")
    if path.suffix == ".pt2":
        from exporters.torch_source import open_exported

        return open_exported(path, folder, target, seed)
    if example:
        raise UsageError(
            "example inputs are for PyTorch programs", "Give data for an .onnx model with --inputs FILE.npz."
        )
    return _open_onnx(path, dims, seed, need_feeds)


def _open_onnx(path: Path, dims: Mapping[str, int], seed: int, need_feeds: bool) -> Source:
    if sniff(path) != "onnx":
        raise UsageError(f"{path}: this is a TFLite model", "Edgewise exports from .onnx, file.py:factory or .pt2.")
    found = index(path)
    check_onnx(path)
    session = Session(path, str(path), found.size_bytes >= LARGE_BYTES)
    _ignore(session.outputs)  # it loads
    feeds = []
    if need_feeds:
        feeds = generate(found.inputs, seed, dims, PARITY_INPUTS, lambda feed: _ignore(session.run(feed)))
    origin = {"kind": "onnx", "name": path.name, "sha256": found.sha256, "size_bytes": found.size_bytes}
    if found.producer:
        origin["producer"] = found.producer
    return Source(str(path), path, found, origin, session.run, feeds)


def _ignore(_: object) -> None:
    """Turns a run into a check."""


def check_onnx(path: Path) -> None:
    """Nothing, or ModelError with what onnx's own checker says. Works by path, so that 2 GB are no limit."""
    import onnx

    try:
        onnx.checker.check_model(str(path))
    except onnx_errors() as error:
        raise ModelError(f"{path}: not a valid ONNX model: {one_line(error)}", "Export it again.") from error


def load_ir(path: Path) -> Any:
    """The onnx-ir model of a file; external weights stay on disk until they are read."""
    import onnx_ir as ir

    raised: tuple[type[Exception], ...] = (*onnx_errors(), ir.serde.SerdeError)
    try:
        return ir.load(path)
    except raised as error:
        raise ModelError(f"{path}: cannot be read as an ONNX graph: {one_line(error)}", "Export it again.") from error
