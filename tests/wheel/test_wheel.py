"""The wheel holds everything: installed into a fresh environment, it runs a pool with its page."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(directory), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (made,) = directory.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel and what it depends on, nothing of the checkout."""
    directory = tmp_path_factory.mktemp("fresh") / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(directory)], check=True, timeout=60)
    python = str(directory / "bin" / "python")
    install = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", python]
    constraints = directory / "versions.txt"
    lock = (ROOT / "requirements" / "run.lock").read_text()
    pins = [line.split(" \\")[0] for line in lock.splitlines() if line and line[0].isalpha() and "==" in line]
    constraints.write_text("\n".join(pins))
    subprocess.run([*install, "--constraint", str(constraints), str(wheel)], check=True, timeout=300)
    return directory


def test_the_wheel_carries_pages_styles_and_third_party_files(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for wanted in ("altiplano/py.typed", "altiplano/pagekit/static/vendor/htmx.min.js"):
        assert wanted in names
    assert any(name.startswith("altiplano/pagekit/templates/") for name in names)
    assert not any(name.startswith(("tests/", "docs/", "examples/")) for name in names)


@pytest.fixture
def pool(environment: Path, tmp_path: Path) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(environment / "bin" / "altiplano"), "up", "--work-dir", str(tmp_path / "pool"), "--port", str(port)]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ALTIPLANO_")}
    process = subprocess.Popen(command, cwd=tmp_path, env=clean, start_new_session=True)
    try:
        for _ in range(300):
            assert process.poll() is None, f"`altiplano up` ended with {process.returncode}"
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).close()
                break
            except urllib.error.URLError:
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise


def test_the_installed_program_starts_a_pool_and_serves_its_page(pool: str, environment: Path, tmp_path: Path) -> None:
    token = (tmp_path / "pool" / "token").read_text().strip()
    request = urllib.request.Request(pool + "/", headers={"Authorization": f"Bearer {token}"})
    page = urllib.request.urlopen(request, timeout=10).read().decode()
    assert "<html" in page
    assert "altiplano" in page
    run = [str(environment / "bin" / "altiplano"), "run", "--", "echo", "from the wheel"]
    where = {**os.environ, "ALTIPLANO_WORK_DIR": str(tmp_path / "pool")}
    done = subprocess.run(run, cwd=tmp_path, env=where, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "from the wheel" in done.stdout
