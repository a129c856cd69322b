"""Settings: from files, then the environment, then flags; each later one wins.

Every option of every command can be set.  In a file it stands in the table of its command, `[run]`
or `[task.logs]`, under its long name; in the environment it is `ALTIPLANO_RUN_CPUS`.  `master`,
`work_dir` and `token_file` at the top of a file hold for all commands.  The files are
`~/.config/altiplano/config.toml`, then `altiplano.toml` in the current directory; `ALTIPLANO_CONFIG`
names one to read instead of both.  A key that no command knows is refused with its path.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import click

from altiplano.cli.failures import USAGE, Failure

PREFIX = "ALTIPLANO"
COMMON = {
    "master": "Address of the master: host:port, several with commas.",
    "work_dir": "Directory of the pool that `altiplano up` runs.",
    "token_file": "File with the token to show to the master.",
}
"""Settings that are not of one command, and what they mean."""

FILE_BYTES_MAX = 1024 * 1024
Scalar = str | int | float | bool | list[Any]


@dataclass(frozen=True, slots=True)
class Value:
    """What a file says about one setting."""

    value: Scalar
    file: str


@dataclass(frozen=True, slots=True)
class Found:
    """What the files say, by path: `("run", "cpus")`."""

    values: Mapping[tuple[str, ...], Value] = field(default_factory=dict)
    files: tuple[str, ...] = ()

    def default_map(self) -> dict[str, Any]:
        """The values in the form in which click takes them, nested by command."""
        made: dict[str, Any] = {}
        for path, found in self.values.items():
            place = made
            for part in path[:-1]:
                place = place.setdefault(part, {})
            place[path[-1]] = found.value
        return made

    def common(self, name: str) -> str | None:
        """A setting for all commands."""
        found = self.values.get((name,))
        return None if found is None else str(found.value)


def paths(environment: Mapping[str, str], directory: str) -> list[str]:
    """The files to read, the weaker first."""
    if named := environment.get(f"{PREFIX}_CONFIG"):
        return [named]
    home = environment.get("XDG_CONFIG_HOME") or os.path.join(environment.get("HOME", "/root"), ".config")
    return [os.path.join(home, "altiplano", "config.toml"), os.path.join(directory, "altiplano.toml")]


def load(environment: Mapping[str, str], directory: str) -> Found:
    """Read the files that are there.  Raises Failure for one that is no TOML, or is named and not there."""
    values: dict[tuple[str, ...], Value] = {}
    files = []
    for path in paths(environment, directory):
        try:
            with open(path, "rb") as file:
                text = file.read(FILE_BYTES_MAX + 1)
        except FileNotFoundError:
            if environment.get(f"{PREFIX}_CONFIG"):
                raise Failure(f"the settings file {path}, named in {PREFIX}_CONFIG, does not exist", USAGE) from None
            continue
        except OSError as error:
            raise Failure(f"the settings file {path} cannot be read: {error.strerror}", USAGE) from error
        files.append(path)
        values.update(_parse(path, text))
    return Found(values, tuple(files))


def _parse(path: str, text: bytes) -> dict[tuple[str, ...], Value]:
    import tomllib

    if len(text) > FILE_BYTES_MAX:
        raise Failure(f"the settings file {path} is longer than {FILE_BYTES_MAX} bytes", USAGE)
    try:
        tree = tomllib.loads(text.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Failure(f"the settings file {path} is not valid TOML: {error}", USAGE) from error
    return {keys: Value(value, path) for keys, value in _leaves(tree, ())}


def _leaves(tree: Mapping[str, Any], above: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, (*above, key))
        else:
            yield (*above, key.replace("-", "_")), value


def check(found: Found, root: click.Group, ctx: click.Context) -> None:
    """Refuse what no command knows, and values of the wrong kind, with path and file."""
    for path, value in found.values.items():
        where = f"'{'.'.join(path)}' in {value.file}"
        if len(path) == 1:
            if path[0] not in COMMON:
                raise Failure(f"{where} is not a setting: at the top stand {', '.join(COMMON)} and tables", USAGE)
            if not isinstance(value.value, str):
                raise Failure(f"{where} must be a text", USAGE)
            continue
        command = command_at(root, path[:-1], ctx)
        if command is None:
            raise Failure(f"{where} is not a setting: there is no command '{' '.join(path[:-1])}'", USAGE)
        options = {option.name: option for option in options_of(command)}
        option = options.get(path[-1])
        if option is None:
            known = ", ".join(name for name in options if name) or "none"
            raise Failure(f"{where} is not a setting: '{' '.join(path[:-1])}' knows {known}", USAGE)
        try:
            option.type_cast_value(ctx, value.value)
        except click.BadParameter as error:
            raise Failure(f"{where} cannot be {value.value!r}: {error.message}", USAGE) from error


def command_at(root: click.Group, path: tuple[str, ...], ctx: click.Context) -> click.Command | None:
    """The command at a path of names, None if there is none."""
    command: click.Command | None = root
    for name in path:
        if not isinstance(command, click.Group):
            return None
        command = command.get_command(ctx, name)
    return command


def options_of(command: click.Command) -> list[click.Option]:
    """The options that can be set: not those that only print something."""
    return [p for p in command.params if isinstance(p, click.Option) and not p.is_eager]
