"""Proving who we are to an ssh server: keys from files, keys of the agent, or a password from the environment."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import paramiko

from mobile.deadline import Deadline
from mobile.errors import AuthenticationFailed, ConfigError
from mobile.transports.bounded import bounded
from mobile.transports.ssh_settings import SshSettings

_AGENT_S = 5.0


@dataclass
class _Tried:
    """What was offered, and what could not be, for the message when nothing was taken."""

    offered: list[str] = field(default_factory=list)
    unusable: list[str] = field(default_factory=list)
    accepts: tuple[str, ...] = ()


def authenticate(wire: paramiko.Transport, settings: SshSettings, deadline: Deadline) -> None:
    """Nothing, once the server has let us in. AuthenticationFailed says what was tried and what the server takes."""
    tried = _Tried()
    password = _secret(settings, settings.password_env, "password_env")
    if _none(wire, settings, deadline, tried):
        return
    with contextlib.closing(_keys(settings, tried)) as keys:
        for label, key in keys:
            tried.offered.append(label)
            if _attempt(wire, deadline, tried, lambda key=key: wire.auth_publickey(settings.user, key)):
                return
            if not wire.is_active():
                break
    if password is not None and wire.is_active():
        tried.offered.append(f"password from ${settings.password_env}")
        if _attempt(wire, deadline, tried, lambda: wire.auth_password(settings.user, password)):
            return
    raise _refused(wire, settings, tried)


def _none(wire: paramiko.Transport, settings: SshSettings, deadline: Deadline, tried: _Tried) -> bool:
    """Asks to be let in with nothing, as ssh does, to learn what the server takes."""
    return _attempt(wire, deadline, tried, lambda: wire.auth_none(settings.user))


def _attempt(wire: paramiko.Transport, deadline: Deadline, tried: _Tried, call: object) -> bool:
    wire.auth_timeout = max(0.1, deadline.remaining_s())
    try:
        more = call()  # type: ignore[operator]
    except paramiko.BadAuthenticationType as error:
        tried.accepts = tuple(error.allowed_types)
        return False
    except (paramiko.SSHException, EOFError):
        return False
    tried.accepts = tuple(more)
    return not more


def _keys(settings: SshSettings, tried: _Tried) -> Generator[tuple[str, paramiko.PKey], None, None]:
    for file in settings.key_files:
        key = _from_file(file, settings, tried)
        if key is not None:
            yield file, key
    if not (settings.key_required and tried.offered):
        yield from _agent_keys(tried)


def _agent_keys(tried: _Tried) -> Iterator[tuple[str, paramiko.PKey]]:
    if not os.environ.get("SSH_AUTH_SOCK"):
        return
    try:
        agent = bounded(paramiko.Agent, _AGENT_S, "asking the ssh agent")
    except (paramiko.SSHException, OSError) as error:
        tried.unusable.append(f"the agent ({error})")
        return
    with contextlib.closing(agent):  # its keys sign through the open connection
        for key in agent.get_keys():
            yield f"the agent's {key.get_name()}", key


def _from_file(file: str, settings: SshSettings, tried: _Tried) -> paramiko.PKey | None:
    path = Path(file)
    if not path.is_file():
        if settings.key_required:
            raise ConfigError(f"{settings.device}: key_file {file} is not there")
        return None
    try:
        return paramiko.PKey.from_path(path)
    except TypeError:  # cryptography's word for a key that is encrypted
        return _encrypted(path, settings, tried)
    except (OSError, ValueError, paramiko.SSHException) as error:
        tried.unusable.append(f"{file} ({_why(error)})")
        return None


def _encrypted(path: Path, settings: SshSettings, tried: _Tried) -> paramiko.PKey | None:
    if settings.passphrase_env is None:
        tried.unusable.append(f"{path} (needs a passphrase: add the key to the agent, or set `passphrase_env`)")
        return None
    passphrase = _secret(settings, settings.passphrase_env, "passphrase_env")
    try:
        # paramiko's two readers disagree: cryptography's wants bytes, its own takes both.
        return paramiko.PKey.from_path(path, (passphrase or "").encode("utf-8"))  # type: ignore[arg-type]
    except (OSError, ValueError, TypeError, paramiko.SSHException):
        tried.unusable.append(f"{path} (the passphrase in ${settings.passphrase_env} does not open it)")
        return None


def _secret(settings: SshSettings, variable: str | None, field_name: str) -> str | None:
    if variable is None:
        return None
    value = os.environ.get(variable)
    if value is None:
        raise ConfigError(
            f"{settings.device}: {field_name} names ${variable}, which is not set", hint=f"export {variable}=..."
        )
    return value


def _refused(wire: paramiko.Transport, settings: SshSettings, tried: _Tried) -> AuthenticationFailed:
    message = f"{settings.device}: {settings.where} does not let us in"
    message += f"; offered: {', '.join(tried.offered)}" if tried.offered else "; there was no key to offer"
    if tried.unusable:
        message += f"; unusable: {', '.join(tried.unusable)}"
    if tried.accepts:
        message += f"; it takes: {', '.join(tried.accepts)}"
    if not wire.is_active() and len(tried.offered) > 1:
        return AuthenticationFailed(
            message, hint="it may allow fewer tries than there are keys: set `key_file` to the right one"
        )
    return AuthenticationFailed(
        message, hint=f"set `user` and `key_file`, or let the key in: ssh-copy-id {settings.user}@{settings.host}"
    )


def _why(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
