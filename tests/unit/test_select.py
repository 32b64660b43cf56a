"""The platform that a command takes by default."""

from pathlib import Path

import pytest

from pgdrill.errors import BadUsageError
from pgdrill.platforms.kind.state import Installation, plan
from pgdrill.platforms.local.layout import Layout
from pgdrill.platforms.select import choose
from pgdrill.settings import resolve


@pytest.fixture
def states(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Two directories in which platforms remember that they were brought up; none was yet."""
    found = {"kind": tmp_path / "kind", "local": tmp_path / "local"}
    monkeypatch.setattr("pgdrill.platforms.kind.state.state_dir", lambda: found["kind"])
    monkeypatch.setattr("pgdrill.platforms.local.layout.state_dir", lambda: found["local"])
    return found


def test_what_is_there_is_taken(states: dict[str, Path]) -> None:
    """A command uses the platform that was brought up, whatever this machine could run."""
    settings = resolve({"platform": "auto"}, {}, Path("/nowhere"))
    Layout(str(states["local"]), 20_000, True, "postgres", {}).save()
    platform, why = choose(settings)
    assert (platform.name, why) == ("local", f"auto: {states['local']} is there")


def test_between_two_somebody_has_to_choose(states: dict[str, Path]) -> None:
    """With both of them there no command guesses: `down` would remove the wrong one."""
    Layout(str(states["local"]), 20_000, True, "postgres", {}).save()
    made = plan(states["kind"], "node:1", True, 2)
    made.save()
    assert Installation.load(states["kind"]) == made
    with pytest.raises(BadUsageError, match="PLATFORM=kind or PLATFORM=local"):
        choose(resolve({"platform": "auto"}, {}, Path("/nowhere")))
    platform, why = choose(resolve({"platform": "kind"}, {}, Path("/nowhere")))
    assert (platform.name, why) == ("kind", "--platform=kind")


@pytest.mark.parametrize("platform", ["local", "patroni"])
def test_a_prober_in_a_pod_needs_pods(platform: str) -> None:
    """Where there are none the option is refused, and nothing is reached."""
    given: dict[str, str | None] = {"platform": platform, "prober_image": "registry.example/p:1"}
    words = "--prober-image is for pods: it needs --platform=kind or --platform=kube"
    with pytest.raises(BadUsageError, match=f"^{words}$"):
        choose(resolve(given, {}, Path("/nowhere")))
