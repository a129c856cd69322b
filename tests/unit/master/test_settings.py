"""The master's flags: names, values, and sentences for what makes no sense."""

from __future__ import annotations

from pathlib import Path

import pytest

from altiplano.master import settings
from altiplano.master.settings import Settings


def test_values_are_written_as_mesos_writes_them():
    config = settings.config_of(
        Settings(
            allocation_interval="100ms",
            agent_ping_timeout="15secs",
            offer_timeout="1.5mins",
            min_allocatable_resources="cpus:0.5|mem:64;cpus:0.1",
            roles="a, b/c",
            weights="a=2,b/c=0.5",
        ),
        port=1234,
    )
    assert (config.allocation_interval_s, config.ping_interval_s, config.offer_timeout_s) == (0.1, 15.0, 90.0)
    assert config.minimums == ((("cpus", 500),), (("mem", 64_000), ("cpus", 100)))
    assert config.roles == {"a", "b/c"}
    assert config.weights == (("a", 2.0), ("b/c", 0.5))
    assert config.port == 1234


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"agent_ping_timeout": "15"}, "--agent-ping-timeout: '15' is not a duration"),
        ({"allocation_interval": "0secs"}, "--allocation-interval must be longer than nothing"),
        ({"min_allocatable_resources": "cpus"}, "--min-allocatable-resources:"),
        ({"ip": "localhost"}, "--ip localhost is not an address"),
        ({"weights": "a=0"}, "'a=0' is not a role and a weight above 0"),
        ({"weights": "/a=1"}, "is not a role"),
        ({"token_file": "/nowhere/token"}, "--token-file /nowhere/token cannot be read"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_flag_and_the_rule(changes: dict[str, str], words: str):
    with pytest.raises(ValueError, match="--") as refused:
        given = Settings(**changes)
        settings.config_of(given, port=1)
        settings.token(given)
    assert words in str(refused.value)


def test_every_flag_has_a_help_and_is_shown_as_text():
    assert all(option.help.endswith(".") for option in settings.options())
    shown = settings.flags(Settings())
    assert shown["work_dir"]
    assert shown["allocation_interval"] == "1secs"
    assert shown["root_submissions"] == "true"
    assert set(shown) <= {option.name for option in settings.options()}


def test_flags_of_mesos_that_are_missing_are_named_with_what_to_do():
    ours = {option.name for option in settings.options()}
    assert not ours & set(settings.NOT_BUILT)
    assert "not built yet" in settings.NOT_BUILT["zk"]


def test_a_token_is_read_without_its_line_end(tmp_path: Path):
    file = tmp_path / "token"
    file.write_text("secret\n")
    assert settings.token(Settings(token_file=str(file))) == "secret"
    file.write_text("\n")
    with pytest.raises(ValueError, match="is empty"):
        settings.token(Settings(token_file=str(file)))


@pytest.mark.parametrize(("ip", "told"), [("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("10.0.0.1", "10.0.0.1")])
def test_others_are_told_an_address_they_can_dial(ip: str, told: str):
    config = settings.config_of(Settings(ip=ip), port=1)
    assert (config.ip, config.hostname) == (told, told)
    assert settings.config_of(Settings(ip=ip, hostname="m1"), port=1).hostname == "m1"
