"""What the model is fed: shapes bound by the spec, arrays random by dtype or taken from an .npz, cut into batches.

How dimensions are bound, in this order: a number of the model stays; ``dims`` of the spec by the dimension's name or
by "INPUT:AXIS"; the first dimension where it is free is the batch (and so is every dimension of the same name); a
dimension that an .npz has is taken from its arrays; what is still free becomes 1, told in an event "dimension-assumed".
"""

from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from device_agents.failures import AgentFailure
from device_agents.runners.base import Shapes
from device_agents.spec import AgentSpec

MAX_INPUT_BYTES = 2 * 1024**3  # all arrays of one run together, checked before any of them is allocated
KEEP_BYTES = (
    256 * 1024**2
)  # converted batches are kept up to this, so that cycling converts nothing between invocations
FULL_RANGE = ("int8", "uint8", "int16", "uint16")  # quantised tensors: any value is a valid one
SMALL_RANGE = ("int32", "int64", "uint32", "uint64")  # token ids, indices: 0 and 1 exist in every table
FLOATS = ("float16", "float32", "float64")
DTYPES = FULL_RANGE + SMALL_RANGE + FLOATS + ("bool",)

Declared = List[Dict[str, Any]]


class Binding(NamedTuple):
    """The shape of each input, and which dimensions were assumed: [{input, axis, dim, value}]."""

    shapes: Shapes
    assumed: List[Dict[str, Any]]


def bind_shapes(declared: Declared, batch: int, dims: Dict[str, int], data: Optional[Shapes] = None) -> Binding:
    """The shapes of one invocation's inputs. AgentFailure "bad-input" when batch, dims or data do not fit.

    >>> bind_shapes([{"name": "x", "shape": ["n", 3, "w"]}], 4, {"w": 8}).shapes
    {'x': (4, 3, 8)}
    """
    named = _named_dimensions(declared, batch, dims, data or {})
    shapes: Shapes = {}
    assumed: List[Dict[str, Any]] = []
    for entry in declared:
        shape = []
        for axis, dimension in enumerate(entry["shape"]):
            value = _value(entry["name"], axis, dimension, batch, dims, named, data or {})
            if value is None:
                value = 1
                assumed.append({"input": entry["name"], "axis": axis, "dim": dimension, "value": value})
            shape.append(value)
        shapes[entry["name"]] = tuple(shape)
    _check_batch(declared, batch, shapes)
    _check_dims(declared, dims)
    return Binding(shapes, assumed)


def is_free(dimension: object) -> bool:
    """True for a dimension that the model leaves open: a name, None, or a number below 1."""
    return not isinstance(dimension, int) or dimension < 1


def _named_dimensions(declared: Declared, batch: int, dims: Dict[str, int], data: Shapes) -> Dict[str, int]:
    named: Dict[str, int] = {}
    for entry in declared:
        if entry["shape"] and isinstance(entry["shape"][0], str):
            named[entry["shape"][0]] = batch
    for entry in declared:
        for axis, dimension in enumerate(entry["shape"]):
            if isinstance(dimension, str) and entry["name"] in data:
                named.setdefault(dimension, data[entry["name"]][axis])
    named.update(dims)
    return named


def _value(
    name: str, axis: int, dimension: Any, batch: int, dims: Dict[str, int], named: Dict[str, int], data: Shapes
) -> Optional[int]:
    if not is_free(dimension):
        return int(dimension)
    by_place = dims.get("{}:{}".format(name, axis))
    if by_place is not None:
        return by_place
    if isinstance(dimension, str) and dimension in named:
        return named[dimension]
    if axis == 0:
        return batch
    return data[name][axis] if name in data else None


def _check_batch(declared: Declared, batch: int, shapes: Shapes) -> None:
    if batch == 1 or not declared or any(shape and shape[0] == batch for shape in shapes.values()):
        return
    entry = declared[0]
    raise AgentFailure(
        "bad-input",
        "batch {}: the first dimension of input {!r} is {}".format(batch, entry["name"], _text(entry["shape"])),
        "Use the model's own batch, or export it with a free first dimension.",
    )


def _check_dims(declared: Declared, dims: Dict[str, int]) -> None:
    free = set()
    for entry in declared:
        for axis, dimension in enumerate(entry["shape"]):
            if is_free(dimension):
                free.add("{}:{}".format(entry["name"], axis))
                if isinstance(dimension, str):
                    free.add(dimension)
    unknown = sorted(set(dims) - free)
    if unknown:
        there = ", ".join(sorted(free)) or "none"
        raise AgentFailure(
            "bad-input", "dims names {}, the free dimensions of the model are: {}".format(", ".join(unknown), there)
        )


class Feed:
    """The batches of a run. ``batches`` of ``batch_size`` items each, ``items`` items in all (the last batch wraps).

    An input whose array has exactly the model's shape, while others have more items, goes whole into every batch.
    """

    def __init__(
        self, arrays: Dict[str, Any], shapes: Shapes, convert: Optional[Dict[str, Tuple[float, Any]]] = None
    ) -> None:
        self._arrays = arrays
        self._shapes = shapes
        self._convert = convert or {}  # by input: factor and the numpy dtype of the result
        self._items = sorted(name for name, array in arrays.items() if array.shape != shapes[name])
        counts = {name: int(arrays[name].shape[0]) for name in self._items}
        if len(set(counts.values())) > 1:
            raise AgentFailure("bad-input", "the arrays have different numbers of items: {}".format(_pairs(counts)))
        sizes = {shapes[name][0] for name in self._items}
        if len(sizes) > 1:
            raise AgentFailure("bad-input", "the inputs have different batch sizes: {}".format(sorted(sizes)))
        self.batch_size = sizes.pop() if sizes else next((shape[0] for shape in shapes.values() if shape), 1)
        self.items = next(iter(counts.values()), self.batch_size)
        self.batches = -(-self.items // self.batch_size)
        self._kept: Dict[int, Dict[str, Any]] = {}
        self._keep = self.batches * sum(_batch_bytes(shape) for shape in shapes.values()) <= KEEP_BYTES

    def batch(self, number: int) -> Dict[str, Any]:
        """The arrays of one batch by input name, contiguous, of the model's shapes and dtypes."""
        kept = self._kept.get(number)
        if kept is not None:
            return kept
        arrays = {name: self._cut(name, number) for name in self._arrays}
        if self._keep:
            self._kept[number] = arrays
        return arrays

    def _cut(self, name: str, number: int) -> Any:
        array = self._arrays[name]
        if name in self._items:
            first = number * self.batch_size
            last = first + self.batch_size
            # Contiguous where the items lie side by side; only the last batch may have to wrap.
            array = array[first:last] if last <= self.items else array.take(range(first, last), axis=0, mode="wrap")
        if name not in self._convert:
            return array
        factor, dtype = self._convert[name]
        # float32(value) * float32(factor), so that the host can compute the same bits.
        scaled = array.astype("float32")
        scaled *= scaled.dtype.type(factor)
        return scaled.astype(dtype, copy=False)


def make_feed(declared: Declared, binding: Binding, spec: AgentSpec, arrays: Optional[Dict[str, Any]]) -> Feed:
    """The feed of a run: of the .npz's ``arrays`` where they were read (npz.py), else random by dtype and seeded."""
    if not declared:
        return Feed({}, {})
    import numpy

    if arrays is None:
        return Feed(_random_arrays(numpy, declared, binding.shapes, spec.inputs.get("seed", 0)), binding.shapes)
    scale = spec.inputs.get("scale") or {}
    convert = {
        entry["name"]: (float(scale[entry["name"]]), numpy.dtype(entry["dtype"]))
        for entry in declared
        if entry["name"] in scale and arrays[entry["name"]].dtype != entry["dtype"]
    }
    return Feed(arrays, binding.shapes, convert)


def _random_arrays(numpy: Any, declared: Declared, shapes: Shapes, seed: int) -> Dict[str, Any]:
    generator = numpy.random.default_rng(seed)
    total = 0
    for entry in declared:
        check_dtype(entry)
        total += _elements(shapes[entry["name"]]) * numpy.dtype(entry["dtype"]).itemsize
    if total > MAX_INPUT_BYTES:
        raise AgentFailure(
            "bad-input", "inputs of {} take {} bytes, the limit is {}".format(_pairs(shapes), total, MAX_INPUT_BYTES)
        )
    return {entry["name"]: random_array(numpy, generator, entry["dtype"], shapes[entry["name"]]) for entry in declared}


def random_array(numpy: Any, generator: Any, dtype: str, shape: Tuple[int, ...]) -> Any:
    """An array that is never all zero (a runtime may take shortcuts on zeros): floats in [0, 1), 8- and 16-bit integers
    over their whole range, wider ones 0 or 1, bool either.
    """
    if dtype in FLOATS:
        array = generator.random(shape, dtype="float32").astype(dtype)
    elif dtype in FULL_RANGE:
        limits = numpy.iinfo(dtype)
        array = generator.integers(limits.min, limits.max, size=shape, dtype=dtype, endpoint=True)
    else:
        array = generator.integers(0, 2, size=shape).astype(dtype)
    if array.size and not array.any():
        array.flat[0] = 1
    return array


def check_dtype(entry: Dict[str, Any]) -> None:
    """Nothing, or AgentFailure "bad-input" when no array of the input's dtype can be made here."""
    if entry["dtype"] not in DTYPES:
        raise AgentFailure(
            "bad-input",
            "input {!r} has dtype {}, edgewise can feed: {}".format(entry["name"], entry["dtype"], ", ".join(DTYPES)),
        )


def _elements(shape: Tuple[int, ...]) -> int:
    count = 1
    for dimension in shape:
        count *= dimension
    return count


def _batch_bytes(shape: Tuple[int, ...]) -> int:
    return _elements(shape) * 8  # the widest dtype: an upper bound is enough to decide what is kept


def _pairs(values: Dict[str, Any]) -> str:
    return ", ".join("{} {}".format(name, values[name]) for name in sorted(values))


def _text(shape: List[Any]) -> str:
    return "[" + ", ".join("?" if dimension is None else str(dimension) for dimension in shape) + "]"
