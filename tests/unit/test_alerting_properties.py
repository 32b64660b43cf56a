"""What holds of alerts that come early, late or never, and of faults that they see."""

from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from pgdrill.judge import alerting
from pgdrill.judge.verdicts import BrokenBudgetError, Verdicts
from pgdrill.records import AlertLife, AlertPath
from tests.unit import fake_run

PATH = AlertPath(push=0, scrape=1, evaluation=1, hold=3, memory=0, group_wait=1, group_interval=2)
LIFE = fake_run.alerts()[0]
instants = st.none() | st.floats(0, 100)


@given(instants, instants, instants, instants, instants, st.booleans())
def test_an_alert_is_in_time_only_after_what_it_is_about(
    condition: float | None,
    arrived: float | None,
    paged: float | None,
    healed: float | None,
    resolved: float | None,
    doubt: bool,
) -> None:
    """What came before it is of something else; what never came is broken; doubt takes all."""
    life: AlertLife = LIFE.model_copy(
        update={
            "condition": condition,
            "alertmanager": arrived,
            "paged": paged,
            "healed": healed,
            "resolved": resolved,
        }
    )
    verdicts = Verdicts(None)
    with suppress(BrokenBudgetError):
        alerting.judge(life, PATH, 100.0, verdicts, doubt="strangers" if doubt else "")
    spans = ((condition, arrived), (condition, paged), (healed, resolved))
    limits_of = (alerting.fires(PATH), alerting.fires(PATH), alerting.resolves(PATH))
    for (start, end), promise, verdict in zip(spans, limits_of, verdicts.given, strict=True):
        if doubt or start is None or (end is not None and end < start):
            assert verdict.outcome == "invalid"
        elif end is None:
            assert verdict.outcome == "broken"
        else:
            assert (verdict.outcome == "met") == (end - start <= promise.limit)
