"""A TFLite model in memory: what the conversion makes, quantisation changes, and the writer turns into a flatbuffer.

The names are those of TFLite's schema (schema.fbs of LiteRT): operators by their BuiltinOperator name, options by the
fields' names there, enumerations by their members' names.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

NO_TENSOR = -1  # an optional input that is not given, as in the flatbuffer


@dataclass
class Quant:
    """Real value = scale * (stored - zero_point), per tensor (one scale) or along ``axis``.

    ``axis`` is the schema's quantized_dimension.

    ``block`` is the number of values of the innermost dimension that share a scale; 0 without blocks.
    """

    scales: NDArray[Any]
    zero_points: NDArray[Any]
    axis: int = 0
    block: int = 0


@dataclass
class Sparsity:
    """How a constant tensor's non-zero values are stored (schema: SparsityParameters).

    ``dimensions``: one per level, in traversal order: an int is a dense dimension's size, a pair is (segments, indices)
    of a compressed one.
    """

    traversal_order: list[int]
    block_map: list[int]
    dimensions: list[int | tuple[NDArray[Any], NDArray[Any]]]


@dataclass
class Tensor:
    """A tensor of a graph.

    ``shape`` is static; ``signature`` the same with -1 where a dimension is free, None when none is. ``dtype`` is
    numpy's name, or "int4", "int2", "string". ``data`` holds a constant's values ("int4" and "int2": one value per
    int8 element, packed by the writer), None for what is computed. Tensors with the same ``buffer_key`` share one
    buffer of the file.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    signature: tuple[int, ...] | None = None
    data: NDArray[Any] | None = None
    quant: Quant | None = None
    sparsity: Sparsity | None = None
    buffer_key: str | None = None
    is_variable: bool = False

    @property
    def rank(self) -> int:
        """The number of dimensions."""
        return len(self.shape)

    @property
    def dims(self) -> tuple[int, ...]:
        """The shape with -1 where a dimension is free."""
        return self.signature if self.signature is not None else self.shape


@dataclass
class Operator:
    """One operator: ``inputs`` and ``outputs`` are indices into the graph's tensors, NO_TENSOR for an input left out.

    ``options`` are the schema's fields, such as ``{"padding": "VALID", "stride_w": 2, "fused_activation_function":
    "RELU6"}``; types are numpy's names. Fields that are missing hold the schema's default. ``version`` None: the
    smallest version that covers its types and options.
    """

    op: str
    inputs: list[int]
    outputs: list[int]
    options: dict[str, Any] = field(default_factory=dict)
    version: int | None = None


@dataclass
class Graph:
    """A subgraph; ``operators`` are in order of execution."""

    name: str = "main"
    tensors: list[Tensor] = field(default_factory=list)
    operators: list[Operator] = field(default_factory=list)
    inputs: list[int] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)


@dataclass
class Program:
    """A whole model. The first graph is the main one.

    ``input_names`` and ``output_names`` are the names of the signature ``signature`` (parallel to the main graph's
    inputs and outputs). ``metadata`` entries become the file's metadata buffers.
    """

    graphs: list[Graph] = field(default_factory=list)
    metadata: dict[str, bytes] = field(default_factory=dict)
    signature: str = "serving_default"
    input_names: list[str] = field(default_factory=list)
    output_names: list[str] = field(default_factory=list)
    description: str = ""

    @property
    def main(self) -> Graph:
        """The graph that an interpreter runs."""
        return self.graphs[0]
