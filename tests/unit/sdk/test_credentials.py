"""Finding the master and what to show it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from altiplano.sdk import credentials, masters


def up(directory: Path, master: str = "127.0.0.1:5050", mode: int = 0o600) -> dict[str, str]:
    directory.mkdir(parents=True, exist_ok=True)
    record = credentials.UpRecord(pid=1, master=master)
    (directory / "up.json").write_bytes(msgspec.json.encode(record))
    token = directory / "token"
    token.write_text("s3cret\n")
    token.chmod(mode)
    return {"ALTIPLANO_WORK_DIR": str(directory)}


def test_a_running_pool_is_found_with_its_token(tmp_path: Path) -> None:
    place = credentials.find(environment=up(tmp_path, "127.0.0.1:6060"))
    assert place.masters == ("http://127.0.0.1:6060",)
    assert place.headers == {"Authorization": "Bearer s3cret"}


def test_its_token_is_shown_to_no_other_master(tmp_path: Path) -> None:
    place = credentials.find("elsewhere.example:5050", environment=up(tmp_path))
    assert place.headers == {}


def test_a_token_that_others_may_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(credentials.CredentialsRefused, match="chmod 600"):
        credentials.find(environment=up(tmp_path, mode=0o644))


def test_the_environment_wins_over_the_file_and_an_argument_over_both(tmp_path: Path) -> None:
    environment = {**up(tmp_path), "ALTIPLANO_TOKEN": "from-environment"}
    assert credentials.find(environment=environment).authorization == "Bearer from-environment"
    assert credentials.find(token="given", environment=environment).authorization == "Bearer given"


def test_a_principal_with_its_secret_is_basic_authentication(tmp_path: Path) -> None:
    environment = {"ALTIPLANO_PRINCIPAL": "eva", "ALTIPLANO_SECRET": "x", "ALTIPLANO_WORK_DIR": str(tmp_path)}
    assert credentials.find("m:5050", environment=environment).authorization == "Basic ZXZhOng="


def test_without_anything_the_usual_port_of_this_machine_is_asked(tmp_path: Path) -> None:
    place = credentials.find(environment={"HOME": str(tmp_path)})
    assert (place.masters, place.found_in) == (("http://127.0.0.1:5050",), "default")


@pytest.mark.parametrize(
    ("text", "bases"),
    [
        ("alps1", ("http://alps1:5050",)),
        ("alps1:80, alps2", ("http://alps1:80", "http://alps2:5050")),
        ("https://alps1:5050/", ("https://alps1:5050",)),
        ("[::1]:5051", ("http://[::1]:5051",)),
    ],
)
def test_addresses_are_written_in_several_ways(text: str, bases: tuple[str, ...]) -> None:
    assert masters.parse(text) == bases


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("zk://a:2181/mesos", "ZooKeeper"),
        ("", "no master is named"),
        ("ftp://a", "begins with ftp"),
        ("a:99999", "no port between"),
        ("http://a/path", "write host:port"),
    ],
)
def test_what_is_no_address_is_refused_with_a_sentence(text: str, part: str) -> None:
    with pytest.raises(masters.AddressRefused, match=part):
        masters.parse(text)


def test_a_location_without_a_scheme_keeps_ours() -> None:
    assert masters.redirected("//leader:5050/api/v1", "https://a:5050") == "https://leader:5050"
    assert masters.redirected("/elsewhere", "http://a:5050") is None
