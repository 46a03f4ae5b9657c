"""How each compressed family is carried in an ONNX graph: small in the file, fast in the runtime, equal in value.

One module per carrier; each says what it needs of the target and why it does not fit a tensor, and builds its subgraph.
"""
