"""What is in a model file, read from its bytes: no model library is imported and no weight is loaded.

>>> from mobile.formats import index, sniff                       # doctest: +SKIP
>>> sniff("model.onnx"), index("model.onnx").operators            # doctest: +SKIP
('onnx', {'Conv': 3, 'Gemm': 1})
"""

from mobile.formats.hashing import content_sha256, file_sha256
from mobile.formats.manifest import Manifest, manifest_path
from mobile.formats.model_index import FileInfo, ModelIndex, TensorBytes, TensorInfo
from mobile.formats.read import index, sniff

__all__ = [
    "FileInfo",
    "Manifest",
    "ModelIndex",
    "TensorBytes",
    "TensorInfo",
    "content_sha256",
    "file_sha256",
    "index",
    "manifest_path",
    "sniff",
]
