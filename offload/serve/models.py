"""The models of a server: the server's parts of all placements of its packages, by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from device_agents.split.codecs import decode
from device_agents.split.delta import Resync, Streams
from device_agents.split.frames import DTYPES, ITEM_BYTES, CodecError, count
from device_agents.split.package import SERVER, Package, PackageError, Part, Value, check_part, read
from mobile.errors import ModelError
from offload.serve.messages import Refused
from offload.serve.oip import VERSIONS, TensorIn, array_of, datatype_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]


@dataclass(frozen=True)
class Model:
    """One server part: what it takes and gives, and the package that it is of."""

    name: str
    package: Package
    part: Part
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]

    @property
    def free_rows(self) -> bool:
        """Whether the first dimension of all it takes and gives is free, so that requests might run together."""
        return all(value.shape and value.shape[0] == -1 for value in self.inputs + self.outputs)

    def metadata(self) -> dict[str, Any]:
        """The model's description in the protocol."""
        return {
            "name": self.name,
            "versions": list(VERSIONS),
            "platform": "onnxruntime_onnx",
            "inputs": [_described(value) for value in self.inputs],
            "outputs": [_described(value) for value in self.outputs],
            "parameters": {"edgewise_package": self.package.id, "sha256": self.part.sha256},
        }

    def feeds(self, tensors: Sequence[TensorIn], limit_bytes: int, streams: Streams | None = None) -> dict[str, Array]:
        """The arrays of a request's inputs, decoded and held against what the model takes.

        Refused names the input. A frame may decode to the value's declared size, ``limit_bytes`` where that is free.
        ``streams``: what is remembered of frames that others are the difference to; Refused(412) for an unknown one.
        """
        given = {tensor.name: tensor for tensor in tensors}
        names = {value.name for value in self.inputs}
        for unknown in given.keys() - names:
            raise Refused(400, f"there is no input {unknown[:80]!r}")
        for missing in names - given.keys():
            raise Refused(400, f"input {missing!r} is missing")
        return {value.name: _fed(value, given[value.name], limit_bytes, streams) for value in self.inputs}

    def checked_part(self) -> str:
        """The path of the part's file, whose hash was compared. Refused(500) when it is not what the manifest names."""
        try:
            check_part(self.package, self.part)
        except PackageError as error:
            raise Refused(500, f"model {self.name} cannot be loaded: {error}") from error
        return self.package.file_of(self.part)


def _described(value: Value) -> dict[str, Any]:
    return {"name": value.name, "datatype": value.dtype, "shape": list(value.shape)}


def _fed(value: Value, tensor: TensorIn, limit_bytes: int, streams: Streams | None) -> Array:
    if tensor.codec:
        if tensor.data is None:
            raise Refused(400, f"input {value.name!r}: a frame comes as binary data")
        try:
            array = decode(tensor.data, _decoded_limit(value, limit_bytes), streams)  # type: ignore[arg-type]
        except Resync as error:
            raise Refused(412, f"input {value.name!r}: {error}") from error
        except CodecError as error:
            raise Refused(400, f"input {value.name!r}: {error}") from error
        _fits(value, datatype_of(array), array.shape)
        return array
    _fits(value, tensor.datatype, tensor.shape)
    return array_of(tensor)


def _decoded_limit(value: Value, limit_bytes: int) -> int:
    if any(dim < 0 for dim in value.shape):
        return limit_bytes
    return count(value.shape) * ITEM_BYTES[DTYPES.index(value.dtype)]


def _fits(value: Value, datatype: str, shape: Sequence[int]) -> None:
    if datatype != value.dtype:
        raise Refused(400, f"input {value.name!r} is {value.dtype}, not {datatype}")
    same = len(shape) == len(value.shape) and all(
        want in (-1, dim) for want, dim in zip(value.shape, shape, strict=True)
    )
    if not same:
        raise Refused(400, f"input {value.name!r} has shape {list(value.shape)}, not {list(shape)}")


def load(paths: Sequence[str]) -> dict[str, Model]:
    """The models of packages, by name. ModelError when a package is not in order, or two have the same models."""
    models: dict[str, Model] = {}
    for path in paths:
        try:
            package = read(path)
        except PackageError as error:
            raise ModelError(f"{path}: {error}", "`edgewise split package` makes packages.") from error
        found = _models_of(package)
        if not found:
            raise ModelError(f"{path}: no placement of this package has a part for a server")
        for model in found:
            if model.name in models:
                raise ModelError(
                    f"{path}: {model.name} is also in {models[model.name].package.path}",
                    "Serve packages of the same name from servers of their own.",
                )
            models[model.name] = model
    return models


def _models_of(package: Package) -> list[Model]:
    known: Mapping[str, Value] = {
        **{value.name: value for value in package.outputs + package.inputs},
        **package.values,
    }
    models = []
    for placement in package.placements.values():
        for part in (part for part in placement.parts if part.place == SERVER):
            missing = [name for name in part.inputs + part.outputs if name not in known]
            if missing:
                raise ModelError(f"{package.path}: the type of {missing[0]!r} is not in the manifest")
            inputs, outputs = (tuple(known[name] for name in names) for names in (part.inputs, part.outputs))
            models.append(Model(package.model_name(placement, part), package, part, inputs, outputs))
    return models
