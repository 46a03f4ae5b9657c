"""PyTorch programs as a source: ``file.py:factory`` and ``file.pt2``.

A program file defines::

    def factory() -> torch.nn.Module: ...           # any name; given after the colon
    def example_inputs(): ...                       # a tensor, a tuple of tensors, or {argument name: tensor}
    dynamic_shapes = {"image": {0: "batch"}}        # optional: {argument: {axis: name}}, which dimensions are free

``FACTORY_inputs`` and ``FACTORY_dynamic_shapes`` are looked for first, for files with several models. A free dimension
needs an example size of 2 or more: torch specialises 0 and 1. The file runs with the rights of whoever exports it, as
any program; the same holds for a .pt2, which may hold pickled objects.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from exporters.generate import make_feeds
from exporters.sources import Source
from exporters.targets import Target
from exporters.user_code import foreign, given_by
from mobile.errors import ExportError, ModelError, UsageError
from mobile.formats import TensorInfo, file_sha256, index

if TYPE_CHECKING:
    from numpy.typing import NDArray

DEFAULT_OPSET = 18  # the oldest that torch.onnx writes: onnxruntime 1.14 and newer load it
NEWEST_OPSET = 20  # torch's own default; more than it needs only narrows who can run the model
_EXTERNAL_BYTES = 1_500_000_000
_EXAMPLE = re.compile(r"(?P<name>[^:]+):(?P<shape>\d+(?:[x,]\d+)*|):(?P<dtype>[a-z]+\d*)")


def open_program(
    path: Path, factory: str, folder: Path, target: Target | None, example: Sequence[str], seed: int
) -> Source:
    """The module that ``factory()`` in the file returns, converted to ONNX in ``folder``. ExportError names the user's
    error.
    """
    torch = _torch()
    name = f"{path}:{factory}"
    with given_by(path, factory) as (program, module):
        if not isinstance(module, torch.nn.Module):
            raise ExportError(f"{name}() returned {type(module).__name__}, a torch.nn.Module was expected")
        module.eval()
        args, kwargs = _example_inputs(program, factory, name, example, seed)
        shapes = getattr(program, f"{factory}_dynamic_shapes", getattr(program, "dynamic_shapes", None))
        origin = {
            "kind": "torch-file", "name": f"{path.name}:{factory}", "sha256": file_sha256(path),
            "size_bytes": _parameter_bytes(module),
        }  # fmt: skip
        return _converted(name, module, args, kwargs, shapes, folder, target, origin)


def open_exported(path: Path, folder: Path, target: Target | None, seed: int) -> Source:
    """A program saved by torch.export.save, converted to ONNX in ``folder``. Its own example inputs are compared on."""
    program = load_exported(path)
    if program.example_inputs is None:
        raise ExportError(f"{path}: was saved without example inputs", "Save it with torch.export.save(program, FILE).")
    args, kwargs = program.example_inputs
    size = path.stat().st_size
    origin = {"kind": "torch-pt2", "name": path.name, "sha256": file_sha256(path), "size_bytes": size}
    return _converted(str(path), program, args, kwargs, None, folder, target, origin)


def load_exported(path: Path) -> Any:
    """The torch.export.ExportedProgram in a .pt2 file. ModelError or ExportError when it cannot be loaded."""
    torch = _torch()
    if not path.is_file():
        raise ModelError(f"{path}: there is no such file", "Check the path.")
    with foreign(f"{path}: torch.export.load"):
        return torch.export.load(str(path))


def _torch() -> Any:
    try:
        import onnxscript  # noqa: F401 - torch.onnx needs it, and says so late and at length
        import torch
    except ImportError as error:
        raise UsageError(
            f"PyTorch programs need torch and onnxscript ({error.name} is missing)", "pip install 'edgewise[torch]'"
        ) from error
    return torch


def _example_inputs(
    program: ModuleType, factory: str, name: str, example: Sequence[str], seed: int
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and named arguments of the module's forward."""
    if example:
        return (), _from_specs(example, seed)
    make = getattr(program, f"{factory}_inputs", getattr(program, "example_inputs", None))
    if make is None:
        raise UsageError(
            f"{name}: no example inputs",
            "Define example_inputs() in the file, or give --input name:1x3x224x224:float32.",
        )
    with foreign(f"{name}: example_inputs()"):
        made = make() if callable(make) else make
    if isinstance(made, Mapping):
        return (), dict(made)
    return (tuple(made) if isinstance(made, (tuple, list)) else (made,)), {}


def _from_specs(example: Sequence[str], seed: int) -> dict[str, Any]:
    torch = _torch()
    inputs = []
    for text in example:
        found = _EXAMPLE.fullmatch(text)
        if found is None:
            raise UsageError(f"example input {text!r}", "Write it as name:1x3x224x224:float32.")
        shape = tuple(int(size) for size in re.findall(r"\d+", found["shape"]))
        inputs.append(TensorInfo(found["name"], found["dtype"], shape))
    return {name: torch.from_numpy(array) for name, array in make_feeds(inputs, seed, {}, 1).items()}


def _converted(
    name: str,
    module: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    shapes: Any,
    folder: Path,
    target: Target | None,
    origin: dict[str, Any],
) -> Source:
    """The module as ONNX, with its own outputs on the example inputs as the reference."""
    torch = _torch()
    model = folder / "torch.onnx"
    opset = DEFAULT_OPSET if target is None else max(DEFAULT_OPSET, min(target.opset, NEWEST_OPSET))
    call = module.module() if isinstance(module, torch.export.ExportedProgram) else module
    with foreign(f"{name}: the model itself"), torch.inference_mode():
        names = _output_names(call(*args, **kwargs))
    with foreign(f"{name}: conversion to ONNX"):
        program = torch.onnx.export(
            module, args, kwargs=kwargs or None, dynamo=True, opset_version=opset, verbose=False,
            dynamic_shapes=_dims(shapes), output_names=names,
        )  # fmt: skip
        _name_folded(program.model, module)
        program.save(str(model), external_data=origin["size_bytes"] > _EXTERNAL_BYTES)
    found = index(model)
    feeds = _feeds(found.inputs, args, kwargs, name)
    return Source(
        name, model, found, origin, _runner(name, call, args, kwargs, [value.name for value in found.inputs]),
        [feeds], "example", tools={"torch": torch.__version__},
    )  # fmt: skip


def _name_folded(model: Any, module: Any) -> None:
    """Weights that the exporter transposed while it converted keep the parameter's name, where it is still free.

    They would be called val_0 otherwise, and patterns of a scheme or a checkpoint's names would not find them. Only
    what equals the parameter, turned, is named after it.
    """
    state = module.state_dict if isinstance(module.state_dict, Mapping) else module.state_dict()
    initializers = model.graph.initializers
    for value in list(initializers.values()):
        name = _folded_from(value)
        parameter = state.get(name)
        if parameter is None or name in initializers or value.const_value is None or parameter.ndim != 2:
            continue
        turned, stored = parameter.detach().t(), value.const_value.raw
        if not _torch().is_tensor(stored):
            stored = _torch().from_numpy(value.const_value.numpy())
        if turned.shape == stored.shape and turned.dtype == stored.dtype and bool((turned == stored).all()):
            del initializers[value.name]
            value.name = name
            value.const_value.name = name
            initializers.add(value)


def _folded_from(value: Any) -> str:
    """The one name that a constant was computed from, as onnxscript's optimiser notes it; "" for none or several."""
    text = value.metadata_props.get("pkg.onnxscript.optimizer.folded_from", "")
    found = re.fullmatch(r"\['([^']+)'\]", text)
    return found[1] if found else ""


def _dims(shapes: Any) -> Any:
    """``dynamic_shapes`` with each name as a torch.export.Dim, the same object for the same name."""
    torch = _torch()
    known: dict[str, Any] = {}

    def convert(value: Any) -> Any:
        if isinstance(value, str):
            return known.setdefault(value, torch.export.Dim(value))
        if isinstance(value, Mapping):
            return {key: convert(inner) for key, inner in value.items()}
        if isinstance(value, (tuple, list)):
            return type(value)(convert(inner) for inner in value)
        return value

    return convert(shapes)


def _leaves(value: Any) -> list[Any]:
    """The tensors in nested arguments or results, in torch's own order."""
    from torch.utils import _pytree

    return [leaf for leaf in _pytree.tree_leaves(value) if _torch().is_tensor(leaf)]


def _output_names(result: Any) -> list[str] | None:
    """The keys of a result that is a flat mapping to tensors; None leaves the names to torch."""
    if isinstance(result, Mapping) and all(_torch().is_tensor(value) for value in result.values()):
        return [str(key) for key in result]
    return None


def _feeds(
    inputs: Sequence[TensorInfo], args: tuple[Any, ...], kwargs: dict[str, Any], name: str
) -> dict[str, NDArray[Any]]:
    """The example inputs by the ONNX inputs' names; both are in the order of the forward's arguments."""
    tensors = _leaves((args, kwargs))
    if len(tensors) != len(inputs):
        names = ", ".join(value.name for value in inputs)
        raise ExportError(
            f"{name}: {len(tensors)} example tensors became {len(inputs)} inputs ({names})",
            "Leave arguments out that the model does not use.",
        )
    return {value.name: tensor.detach().cpu().numpy() for value, tensor in zip(inputs, tensors, strict=True)}


def _runner(name: str, call: Any, args: tuple[Any, ...], kwargs: dict[str, Any], names: Sequence[str]) -> Any:
    """Asks the module itself: feeds by ONNX input name in, arrays in the order of the ONNX outputs out."""
    from torch.utils import _pytree

    torch = _torch()
    leaves, structure = _pytree.tree_flatten((args, kwargs))
    places = [place for place, leaf in enumerate(leaves) if torch.is_tensor(leaf)]

    def run(feed: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
        filled = list(leaves)
        for place, key in zip(places, names, strict=True):
            filled[place] = torch.from_numpy(feed[key].copy())
        positional, named = _pytree.tree_unflatten(filled, structure)
        with foreign(f"{name}: the model itself"), torch.inference_mode():
            result = call(*positional, **named)
        return [tensor.detach().cpu().numpy() for tensor in _leaves(result)]

    return run


def _parameter_bytes(module: Any) -> int:
    tensors = [*module.parameters(), *module.buffers()]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
