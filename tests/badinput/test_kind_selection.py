"""PLATFORM=auto: a platform that is up stays in use, else the engine decides; line 1 has why."""

from pgdrill.platforms.kind.state import plan
from pgdrill.platforms.local.layout import Layout
from tests.badinput.stubs import Machine


def _chosen(machine: Machine, *words: str) -> str:
    """Return the line in which a command prints its choice and the reason."""
    auto = machine.with_(PGDRILL_PLATFORM="auto")
    return auto.pgdrill("status", *words).output.splitlines()[0]


def test_no_engine(machine: Machine) -> None:
    """Without a container engine it is local."""
    machine.tools.add_silent_docker()
    assert _chosen(machine) == "platform: local (auto: no container engine answers)"
    assert _chosen(machine, "--engine=cnpg").startswith("platform: kind (auto: --engine=cnpg")


def test_an_engine_that_answers(machine: Machine) -> None:
    """With one it is kind, unless the other engine is asked for."""
    machine.tools.add_docker()
    assert _chosen(machine) == "platform: kind (auto: a container engine answers)"
    assert _chosen(machine, "--engine=patroni").startswith("platform: local (auto: --engine=patr")


def test_an_engine_that_cannot_carry_it(machine: Machine) -> None:
    """An engine with too little memory is not used."""
    machine.tools.add_docker(memory=2e9)
    line = _chosen(machine)
    assert line.startswith("platform: local (auto: "), line
    assert "memory" in line


def test_nothing_but_an_engine(machine: Machine) -> None:
    """Docker alone is enough: tools and images are fetched, and nothing has to be compiled."""
    (machine.tools.directory / "go").unlink()
    machine.tools.add_docker()
    assert _chosen(machine) == "platform: kind (auto: a container engine answers)"


def test_what_is_up_on_local_stays_in_use(machine: Machine) -> None:
    """An engine that has started meanwhile does not hide a cluster that is there."""
    machine.tools.add_docker()
    state = str(machine.installation.state)
    Layout(state=state, offset=0, mounts=False, user="postgres", secrets={}).save()
    assert _chosen(machine) == f"platform: local (auto: {state} is there)"


def test_what_is_up_on_kind_stays_in_use(machine: Machine) -> None:
    """A missing engine does not hide one either."""
    machine.tools.add_silent_docker()
    plan(machine.installation.state, "node:1", built=True, cores=2).save()
    line = _chosen(machine)
    assert line == f"platform: kind (auto: {machine.installation.state} is there)"
