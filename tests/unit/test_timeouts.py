"""The one factor of the bounds of waits."""

from pathlib import Path

import pytest

from pgdrill.errors import BadUsageError
from pgdrill.settings import resolve
from pgdrill.timeouts import FACTOR_VARIABLE, wait_factor


@pytest.mark.parametrize(("text", "factor"), [("1", 1.0), ("2.5", 2.5), ("30", 30.0)])
def test_a_number_from_one_on_is_a_factor(text: str, factor: float) -> None:
    """It multiplies the bounds, and never shortens them."""
    assert wait_factor(text) == factor


@pytest.mark.parametrize("text", ["0.5", "-1", "nan", "inf", "twice", "1e9"])
def test_any_other_value_is_refused_in_one_line(text: str, tmp_path: Path) -> None:
    """By every command, with the name of the variable and the value."""
    none = tmp_path / "pgdrill.toml"
    with pytest.raises(BadUsageError, match=f"{FACTOR_VARIABLE} is '{text}': it must be a number"):
        resolve({}, {FACTOR_VARIABLE: text}, none)


def test_the_variable_is_known(tmp_path: Path) -> None:
    """Of PGDRILL_* variables only unknown ones are refused."""
    assert resolve({}, {FACTOR_VARIABLE: "2"}, tmp_path / "pgdrill.toml")
