"""Every error that edgewise raises on the host, as one tree.

::

    EdgewiseError                     exit 1   something asked for did not succeed
    |- UsageError                     exit 2   the command line or an argument is wrong
    |- ConfigError                    exit 2   devices.yaml or a setting is wrong
    |- ModelError                     exit 2   a model file is missing, damaged or not what it claims to be
    |- InputError                     exit 2   input data (.npz, labels) does not fit
    |- StoreError                     exit 1   the run store cannot be read or written
    |- ExportError                    exit 1   an export or its verification failed
    |- AgentError                     exit 1   the agent's stream broke, or it speaks another schema
    |- SetupError                     exit 1   a device could not be given what it lacks
    |- RunFailure                     exit 1   a run ended in a failure record (has .code)
    `- TransportError                 exit 3   a device could not be reached or the connection broke
       |- DeviceUnreachable           exit 3
       |- LinkLost                    exit 3
       |- AuthenticationFailed        exit 3
       |- DeadlineExceeded            exit 1   the time allowed ran out
       |- RemoteFileError             exit 1   the device refused a file operation (has .path)
       `- NoSpaceOnDevice             exit 1

A message names the thing, the value and, as ``hint``, the next step. Foreign exceptions are mapped into this tree at
one place each.
"""

from __future__ import annotations


class EdgewiseError(Exception):
    """Base of all edgewise errors; ``str(error)`` is one line, ``hint`` the next step or None."""

    exit_code = 1
    code = "error"

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(EdgewiseError, ValueError):
    """The command line or an argument of the API is wrong."""

    exit_code = 2
    code = "usage"


class ConfigError(EdgewiseError, ValueError):
    """devices.yaml or a setting is wrong; the message starts with file and line where they are known."""

    exit_code = 2
    code = "config"


class ModelError(EdgewiseError, ValueError):
    """A model file is missing, empty, damaged, or not of the format it claims."""

    exit_code = 2
    code = "bad-model"


class InputError(EdgewiseError, ValueError):
    """Input data does not fit the model, or may not be read (pickled objects)."""

    exit_code = 2
    code = "bad-input"


class StoreError(EdgewiseError):
    """The run store cannot be opened, read or written."""

    code = "store"


class ExportError(EdgewiseError):
    """An export, or the check of its result against the source, failed."""

    code = "export"


class AgentError(EdgewiseError):
    """The agent's stream broke or is not one that this edgewise reads."""

    code = "agent"


class SetupError(EdgewiseError):
    """A device could not be given what it lacks, or it cannot take it."""

    code = "setup"


class RunFailure(EdgewiseError):
    """A run ended in a ``failure`` record; ``code`` is the record's."""

    def __init__(self, code: str, message: str, hint: str | None = None) -> None:
        super().__init__(message, hint)
        self.code = code


class TransportError(EdgewiseError, OSError):
    """The way to a device broke."""

    exit_code = 3
    code = "transport"


class DeviceUnreachable(TransportError):
    """Nothing answers at the device's address."""

    code = "unreachable"


class LinkLost(TransportError):
    """The link broke under a run and did not come back in time; the run itself is still on the device."""

    code = "link-lost"


class AuthenticationFailed(TransportError):
    """The device answered and refused us, or is not who it should be."""

    code = "authentication"


class DeadlineExceeded(TransportError, TimeoutError):
    """The time allowed for an operation ran out."""

    exit_code = 1
    code = "deadline"


class RemoteFileError(TransportError):
    """The device refused a file operation; ``path`` is the path there."""

    exit_code = 1
    code = "remote-file"

    def __init__(self, message: str, path: str, hint: str | None = None) -> None:
        super().__init__(message, hint)
        self.path = path


class NoSpaceOnDevice(RemoteFileError):
    """The device's file system is full."""

    code = "no-space"
