"""The edge server: the server's parts of split packages as models of the Open Inference Protocol, over HTTP."""
