"""Compressed weights: what each family stores, what it means exactly, how it is made, and its file.

``tensors`` (one class per family, with ``dequantise``), ``families`` (from float weights to each family), ``schemes``
("layers.0.*=int8,*.mlp.*=ternary"), ``weights`` (which initializers of a graph are weights) and ``spec`` (the file).
These modules import numpy; import them inside the function that needs them. ``schemes`` parses without it.
"""
