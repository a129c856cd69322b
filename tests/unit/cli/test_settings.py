"""Where settings come from, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from altiplano.cli import main, settings
from altiplano.cli.failures import NO_MASTER, NOT_FOUND, OK, USAGE, Failure


@pytest.fixture(autouse=True)
def _own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "ALTIPLANO_MASTER", "ALTIPLANO_WORK_DIR"):
        monkeypatch.delenv(name, raising=False)


def shown(capsys: pytest.CaptureFixture[str]) -> dict[str, tuple[str, str]]:
    capsys.readouterr()
    assert main.run(["config", "show", "--json"]) == OK
    return {row["path"]: (row["value"], row["source"]) for row in json.loads(capsys.readouterr().out)}


def test_a_later_source_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "home" / ".config" / "altiplano"
    home.mkdir(parents=True)
    (home / "config.toml").write_text('master = "far:5050"\n[run]\ncpus = 2\nmem = 64\n')
    Path("altiplano.toml").write_text("[run]\ncpus = 3\n")
    assert shown(capsys) == {
        "master": ("far:5050", str(home / "config.toml")),
        "run.cpus": ("3", str(tmp_path / "altiplano.toml")),
        "run.mem": ("64", str(home / "config.toml")),
    }
    monkeypatch.setenv("ALTIPLANO_RUN_CPUS", "4")
    monkeypatch.setenv("ALTIPLANO_MASTER", "near:5050")
    assert shown(capsys)["run.cpus"] == ("4", "ALTIPLANO_RUN_CPUS")
    assert shown(capsys)["master"] == ("near:5050", "ALTIPLANO_MASTER")


def test_options_of_commands_below_commands_have_tables_too(capsys: pytest.CaptureFixture[str]) -> None:
    Path("altiplano.toml").write_text("[task.logs]\ntail-bytes = 100\n")
    assert shown(capsys)["task.logs.tail_bytes"][0] == "100"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[run]\ncpu = 2\n", "'run.cpu' in"),
        ("[runn]\ncpus = 2\n", "there is no command 'runn'"),
        ("color = 'red'\n", "at the top stand master, work_dir, token_file"),
        ("master = 5\n", "must be a text"),
        ("[run]\ncpus = 'many'\n", "'run.cpus' in"),
        ("[run\n", "is not valid TOML"),
    ],
)
def test_what_is_no_setting_is_refused_with_its_path(
    text: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("altiplano.toml").write_text(text)
    assert main.run(["version"]) == USAGE
    error = capsys.readouterr().err
    assert sentence in error
    assert "altiplano.toml" in error


def test_a_file_that_is_named_must_be_there() -> None:
    with pytest.raises(Failure, match="does not exist"):
        settings.load({"ALTIPLANO_CONFIG": "/nowhere/altiplano.toml"}, "/")


def test_no_master_is_a_sentence_and_exit_code_4(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["task", "list", "--master", "127.0.0.1:1"]) == NO_MASTER
    error = capsys.readouterr().err
    assert "nobody answers at 127.0.0.1:1" in error
    assert "altiplano up" in error


def test_wrong_usage_is_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["run"]) == USAGE
    assert main.run(["nonsense"]) == USAGE
    assert main.run(["task", "list", "--master", "zk://a/b"]) == USAGE
    assert "ZooKeeper" in capsys.readouterr().err


def test_a_token_file_that_is_not_there_is_exit_code_4(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["agent", "list", "--token-file", "/nowhere/token"]) == NO_MASTER
    assert "/nowhere/token" in capsys.readouterr().err


def test_the_codes_are_what_the_manual_says() -> None:
    assert (OK, USAGE, NOT_FOUND, NO_MASTER) == (0, 2, 3, 4)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_there_for_each_shell(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["completion", shell]) == OK
    assert "_ALTIPLANO_COMPLETE" in capsys.readouterr().out


def test_version_and_help_do_not_load_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["version"]) == OK
    assert capsys.readouterr().out.startswith("altiplano ")
    assert main.run(["--help"]) == OK
    assert "A whole pool on this machine" in capsys.readouterr().out
