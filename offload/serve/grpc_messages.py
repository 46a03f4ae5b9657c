"""The protocol's gRPC messages, made at run time from a table: no generated code, and no clash with another copy of it.

Protocol: kserve/open-inference-protocol, specification/protocol/open_inference_grpc.proto (package ``inference``; names
and numbers of the fields are from there). They live in a pool of their own: clients of Triton and KServe in the same
process bring the same names, and protobuf's common pool takes a name once.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

PACKAGE = "inference"
SERVICE = "inference.GRPCInferenceService"
# Message: fields as "name number type", * for repeated; map<> is a map to InferParameter, ? the one choice of a union.
MESSAGES = {
    "InferParameter": (
        "bool_param 1 bool?", "int64_param 2 int64?", "string_param 3 string?", "double_param 4 double?",
        "uint64_param 5 uint64?",
    ),
    "InferTensorContents": (
        "bool_contents 1 bool*", "int_contents 2 int32*", "int64_contents 3 int64*", "uint_contents 4 uint32*",
        "uint64_contents 5 uint64*", "fp32_contents 6 float*", "fp64_contents 7 double*", "bytes_contents 8 bytes*",
    ),
    "ServerLiveRequest": (),
    "ServerLiveResponse": ("live 1 bool",),
    "ServerReadyRequest": (),
    "ServerReadyResponse": ("ready 1 bool",),
    "ModelReadyRequest": ("name 1 string", "version 2 string"),
    "ModelReadyResponse": ("ready 1 bool",),
    "ServerMetadataRequest": (),
    "ServerMetadataResponse": ("name 1 string", "version 2 string", "extensions 3 string*"),
    "ModelMetadataRequest": ("name 1 string", "version 2 string"),
    "ModelMetadataResponse": (
        "name 1 string", "versions 2 string*", "platform 3 string", "inputs 4 ModelMetadataResponse.TensorMetadata*",
        "outputs 5 ModelMetadataResponse.TensorMetadata*",
    ),
    "ModelMetadataResponse.TensorMetadata": ("name 1 string", "datatype 2 string", "shape 3 int64*"),
    "ModelInferRequest": (
        "model_name 1 string", "model_version 2 string", "id 3 string", "parameters 4 map",
        "inputs 5 ModelInferRequest.InferInputTensor*", "outputs 6 ModelInferRequest.InferRequestedOutputTensor*",
        "raw_input_contents 7 bytes*",
    ),
    "ModelInferRequest.InferInputTensor": (
        "name 1 string", "datatype 2 string", "shape 3 int64*", "parameters 4 map", "contents 5 InferTensorContents",
    ),
    "ModelInferRequest.InferRequestedOutputTensor": ("name 1 string", "parameters 2 map"),
    "ModelInferResponse": (
        "model_name 1 string", "model_version 2 string", "id 3 string", "parameters 4 map",
        "outputs 5 ModelInferResponse.InferOutputTensor*", "raw_output_contents 6 bytes*",
    ),
    "ModelInferResponse.InferOutputTensor": (
        "name 1 string", "datatype 2 string", "shape 3 int64*", "parameters 4 map", "contents 5 InferTensorContents",
    ),
}  # fmt: skip


@lru_cache(maxsize=1)
def classes() -> dict[str, Any]:
    """The message classes by their names in MESSAGES."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="edgewise_open_inference.proto", package=PACKAGE, syntax="proto3")
    made: dict[str, Any] = {}
    for name, fields in MESSAGES.items():
        outer, _, inner = name.rpartition(".")
        message = made[name] = (made[outer].nested_type if outer else file.message_type).add(name=inner or name)
        for field in fields:
            _add(message, name, *field.split())
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}")) for name in MESSAGES}


def _add(message: Any, owner: str, name: str, number: str, kind: str) -> None:
    """Nothing; the message has one more field."""
    field = message.field.add(name=name, number=int(number))
    if kind == "map":
        entry = message.nested_type.add(name=f"{name.capitalize()}Entry")
        entry.options.map_entry = True
        _add(entry, "", "key", "1", "string")
        _add(entry, "", "value", "2", "InferParameter")
        kind = f"{owner}.{entry.name}*"
    if kind.endswith("?"):
        if not message.oneof_decl:
            message.oneof_decl.add(name="parameter_choice")
        field.oneof_index = 0
    field.label = field.LABEL_REPEATED if kind.endswith("*") else field.LABEL_OPTIONAL
    plain = kind.rstrip("*?")
    if plain[0].isupper():
        field.type, field.type_name = field.TYPE_MESSAGE, f".{PACKAGE}.{plain}"
    else:
        field.type = getattr(field, f"TYPE_{plain.upper()}")
