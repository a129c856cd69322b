"""A word that is not known is answered with the one that was meant."""

from __future__ import annotations

from click.testing import CliRunner

from altiplano.cli.main import cli


def test_a_command_that_is_nearly_right_is_named() -> None:
    result = CliRunner().invoke(cli, ["flwo"])

    assert result.exit_code == 2
    assert "No such command 'flwo'. Did you mean 'flow'?" in result.output


def test_a_word_like_no_command_brings_no_guess() -> None:
    assert "Did you mean" not in CliRunner().invoke(cli, ["zzz"]).output
