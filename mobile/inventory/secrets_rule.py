"""Secrets never stand in devices.yaml: it is shared, committed and shown.

This finds them before anything echoes a value.
"""

from __future__ import annotations

import re
from typing import Any

from mobile.errors import ConfigError
from mobile.inventory.problems import dotted, line_of
from mobile.inventory.yamlfile import KeyPath, Located

_SECRET_KEY = re.compile(
    r"(?:^|_)(?:password|passwd|passphrase|secret|token|credentials?|api_?key|private_?key|access_?key|auth)(?:$|_)",
    re.IGNORECASE,
)
_REFERENCES = ("passphrase_env", "password_env", "token_env")  # these name an environment variable
_INSTEAD = {
    "passphrase": "passphrase_env: NAME",
    "password": "password_env: NAME",
    "passwd": "password_env: NAME",
    "token": "token_env: NAME",
    "private": "key_file: PATH",
}


def refuse_secrets(located: Located) -> None:
    """Nothing, or ConfigError for the first key that would hold a secret.

    The value is never part of the message.
    """
    _walk(located, located.value, ())


def _walk(located: Located, value: Any, path: KeyPath) -> None:
    if isinstance(value, tuple):
        for index, item in enumerate(value):
            _walk(located, item, (*path, index))
    if not isinstance(value, dict):
        return
    for key, item in value.items():
        at = (*path, key)
        named_by_user = len(path) == 1 and path[0] != "defaults"  # a board may be called `token`
        if not named_by_user and key not in _REFERENCES and _SECRET_KEY.search(key):
            raise _refusal(located, at, key)
        _walk(located, item, at)


def _refusal(located: Located, path: KeyPath, key: str) -> ConfigError:
    message = f"{located.file}:{line_of(located, path)}: {dotted(path)}: secrets do not belong in this file"
    if "env" in path[:-1]:
        return ConfigError(message, "Set the variable on the device instead.")
    instead = next((text for word, text in _INSTEAD.items() if word in key.lower()), "passphrase_env: NAME")
    return ConfigError(
        message, f"Put it into an environment variable or a key file, and write `{instead}` or `key_file:`."
    )
