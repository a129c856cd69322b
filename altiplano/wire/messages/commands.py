"""What a task runs: command line, environment, files to fetch."""

from __future__ import annotations

from typing import Annotated

from altiplano.wire.messages.fields import Message, Numbered, always
from altiplano.wire.messages.secrets import Secret


class EnvironmentVariableType(Numbered):
    UNKNOWN = "UNKNOWN", 0
    VALUE = "VALUE", 1
    SECRET = "SECRET", 2


class CommandInfoURI(Message):
    value: Annotated[str, 1]
    executable: Annotated[bool | None, 2] = None
    extract: Annotated[bool, 3] = always(default=True)
    cache: Annotated[bool | None, 4] = None
    output_file: Annotated[str | None, 5] = None


class EnvironmentVariable(Message):
    name: Annotated[str, 1]
    value: Annotated[str | None, 2] = None
    type: Annotated[EnvironmentVariableType, 3] = always(default=EnvironmentVariableType.VALUE)
    secret: Annotated[Secret | None, 4] = None


class Environment(Message):
    variables: Annotated[tuple[EnvironmentVariable, ...], 1] = ()


class CommandInfo(Message):
    uris: Annotated[tuple[CommandInfoURI, ...], 1] = ()
    environment: Annotated[Environment | None, 2] = None
    value: Annotated[str | None, 3] = None
    user: Annotated[str | None, 5] = None
    shell: Annotated[bool, 6] = always(default=True)
    arguments: Annotated[tuple[str, ...], 7] = ()
