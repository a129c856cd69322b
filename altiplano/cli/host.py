"""`altiplano host`: the process of `altiplano up` in which frameworks live."""

from __future__ import annotations

import click


@click.command(hidden=True, epilog="Example: altiplano host --master 127.0.0.1:5050 --work-dir /tmp/pool/frameworks")
@click.option("--master", required=True, metavar="HOST:PORT", help="The master.")
@click.option("--work-dir", required=True, metavar="DIR", help="Directory of the frameworks' state.")
@click.option("--ip", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65_535), default=5052, show_default=True, help="Port to listen on.")
@click.option("--token-file", metavar="PATH", help="File with the token that guards it and opens the master.")
def host(master: str, work_dir: str, ip: str, port: int, token_file: str | None) -> None:
    """Run frameworks, each from its first use on, and show their pages."""
    from pathlib import Path

    from altiplano.frameworks import host as process
    from altiplano.kit import eventloop
    from altiplano.sdk import credentials

    token = credentials.read_token(Path(token_file)) if token_file else None
    eventloop.run(process.serve(master=master, work_dir=Path(work_dir), ip=ip, port=port, token=token))
