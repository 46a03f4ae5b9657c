"""Split computing on the device: codecs, wire, placement table and decisions, and the client that uses them.

Everything here is used on the board as it is and by the host for simulation and replay. numpy and the runtime are
imported by the function that needs them.
"""
