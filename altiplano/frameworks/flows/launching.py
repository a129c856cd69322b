"""From a rule to the task that runs it on an agent: pure.

shared directory   `cd` to the workflow's directory, then the command as it stands
else               inputs as URIs of the flow's endpoint, the command in a wrapper that sends outputs home
"""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from altiplano.frameworks.flows.contents import Content
from altiplano.frameworks.flows.effects import Start
from altiplano.frameworks.flows.graph import Node
from altiplano.frameworks.flows.wrapper import MARK, STATUS_INPUT, Packed, wrap
from altiplano.sdk.tasks import Task
from altiplano.wire.messages import mesos

NAME_CHARS_MAX = 80
"""Characters of a rule's title that become the name of its task."""


def shared_command(command: str, root: Path) -> str:
    """The command, among the files of the workflow."""
    sentence = f"{MARK} the workflow's directory {root} is not on this machine, and --shared-dir says it is"
    return f"cd {shlex.quote(str(root))} || {{ echo {shlex.quote(sentence)} >&2; exit {STATUS_INPUT}; }}\n{command}"


def carried(
    node: Node, *, inputs: Mapping[str, tuple[Content, str, bool]], outputs_url: str, empty_fails: bool
) -> tuple[str, tuple[mesos.CommandInfoURI, ...]]:
    """The command with its wrapper, and what is fetched before.

    `inputs` tells of each input's content, its URL, and whether other rules read it too.
    """
    uris, packed = [], []
    for number, use in enumerate(node.rule.inputs):
        content, url, common = inputs[use.local]
        remote = posixpath.normpath(use.remote)
        if content.is_directory:
            archive = f".altiplano-flow.in.{number}.tar"
            packed.append(Packed(archive=archive, directory=remote))
            remote = archive
        uris.append(
            mesos.CommandInfoURI(
                value=url, output_file=remote, executable=content.executable, extract=False, cache=common
            )
        )
    outputs = tuple(posixpath.normpath(use.remote) for use in node.rule.outputs)
    directories = tuple(dict.fromkeys(filter(None, (posixpath.dirname(name) for name in outputs))))
    command = node.rule.command
    if outputs or packed:
        command = wrap(
            command,
            url=outputs_url,
            outputs=outputs,
            packed=tuple(packed),
            directories=directories,
            empty_fails=empty_fails,
        )
    return command, tuple(uris)


def task(
    node: Node, start: Start, *, command: str, uris: Sequence[mesos.CommandInfoURI], exports: Mapping[str, str]
) -> Task:
    """The task of one try of a rule."""
    amount = start.amount
    return Task(
        id=start.task_id,
        name=node.rule.title[:NAME_CHARS_MAX],
        command=command,
        cpus=amount.cpus_milli / 1000,
        mem=amount.mem_mb,
        disk=amount.disk_mb,
        gpus=amount.gpus,
        env={**exports, **dict(node.rule.environment)},
        uris=tuple(uris),
        labels={"flow.rule": node.key, "flow.line": f"{node.file}:{node.rule.line}"},
    )
