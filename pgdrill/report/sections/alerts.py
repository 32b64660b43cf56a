"""Alerts: would anyone be paged, and does any alert see each fault?"""

from pgdrill.judge import alerting, detection
from pgdrill.judge.alerting import CONDITION, PAGED
from pgdrill.records import AlertLife, Detection
from pgdrill.report import plots
from pgdrill.report.detection import matrix, summary
from pgdrill.report.number_format import at_most, count, seconds
from pgdrill.report.pages import render
from pgdrill.report.plots import alert_bound
from pgdrill.report.run_data import RunData
from pgdrill.report.suites import Question, Section, Suite
from pgdrill.report.tables import table
from pgdrill.report.tiles import Tile, state_of, unmeasured


def page_limit(m: RunData, alert: str) -> float | None:
    """Return the limit of the time from an alert's condition to its page, seconds."""
    about = [v.budget for v in m.promises if v.about.alert == alert]
    return next((b.limit for b in about if b.kind == PAGED), None)


def _alerts(m: RunData) -> str:
    lives = m.all(AlertLife)
    limits = {life.alert: page_limit(m, life.alert) for life in lives}
    return render("alerts.html.j2", alerts=lives, limits=limits, plots=plots)


def _detection(m: RunData) -> str:
    return render("detection.html.j2", found=matrix(m.all(Detection)))


def _tiles(m: RunData) -> list[Tile]:
    return [_alert_tile(m)]


def _alert_tile(m: RunData) -> Tile:
    lives = [life for life in m.all(AlertLife) if life.severity != "info"]  # those page nobody
    times = [(life.paged if life.paged is not None else life.alertmanager, life) for life in lives]
    if not times:
        return unmeasured("slowest alert")
    waits = [
        at - life.condition for at, life in times if at is not None and life.condition is not None
    ]
    missing = len(times) - len(waits)
    if missing:
        return Tile("alerts that never arrived", f"{missing}", f"of {len(times)}", "broken")
    return Tile(
        "slowest alert",
        seconds(max(waits)),
        f"condition true to page; {len(waits)} of {len(times)} arrived",
        state_of(m, PAGED),
    )


def _claims(m: RunData) -> list[str]:
    lives = m.all(AlertLife)
    reached = sum(life.alertmanager is not None for life in lives)
    return [f"{reached} of {count(len(lives), 'alert')} reached Alertmanager"] if lives else []


def _done(m: RunData) -> list[str]:
    lives = m.all(AlertLife)
    return [f"{count(len(lives), 'alert')} provoked."] if lives else []


def _answers(m: RunData) -> list[tuple[str, list[str]]]:
    return [("Would anyone be paged?", _paged(m))]


def _paged(m: RunData) -> list[str]:
    """Return how long pages took, the slowest by name, and which alerts paged nobody."""
    came, said = list[tuple[float, str]](), list[str]()
    for life in m.all(AlertLife):
        if life.severity == "info":  # logged, not paged
            continue
        when = life.paged if life.paged is not None else life.alertmanager
        if life.condition is None or when is None:
            said.append(f"{life.alert}: no.")
        else:
            verb = "paged" if life.paged is not None else "at Alertmanager"
            came.append((when - life.condition, f"{life.alert} {verb}"))
    if came:
        (first, _), (last, slowest) = min(came), max(came)
        number = count(len(came), "alert")
        after = f"{at_most(first)} to {at_most(last)}" if len(came) > 1 else at_most(last)
        said.insert(0, f"{number} arrived, {after} after the condition: {slowest} last.")
    return said


def _tables(m: RunData) -> list[str]:
    rows = []
    for life in m.all(AlertLife):
        zero = life.condition
        instants = (life.firing, life.alertmanager, life.paged, life.resolved)
        after = [None if at is None or zero is None else at - zero for at in instants]
        rows.append([life.alert, *map(seconds, after), f"≤ {seconds(alert_bound(life))}"])
    heads = [
        "alert, after its condition",
        "firing",
        "Alertmanager",
        "paged",
        "resolved",
        "page due",
    ]
    return [table(heads, rows)] if rows else []


def _excused(m: RunData) -> list[str]:
    return [f"{row.fault} ({row.excused})" for row in matrix(m.all(Detection)).rows if row.excused]


def _lines(m: RunData) -> list[str]:
    seen = summary(m.all(Detection))
    return [*map(_line, m.all(AlertLife)), *([seen] if seen else [])]


def _line(life: AlertLife) -> str:
    told = life.logged if life.paged is None else life.paged
    at = life.alertmanager if told is None else told
    if at is None or life.condition is None:
        return f"alert {life.alert} ({CONDITION}): never arrived"
    verb = "at Alertmanager" if told is None else "logged" if life.paged is None else "paged"
    resolved = "resolved" if life.resolved is not None else "not seen to resolve"
    return (
        f"alert {life.alert}: {verb} {seconds(at - life.condition)} after its condition, {resolved}"
    )


SUITE = Suite(
    name="alerts",
    order=20,
    marker="alerts fire, reach Alertmanager and resolve",
    records=(AlertLife, Detection),
    judges=(alerting.rejudge, detection.rejudge),
    place=50,
    questions=(
        Question(
            "Would anyone be paged?",
            (
                *(budget.kind for budget in alerting.nominal()),
                alerting.KNOWN.kind,
                alerting.NO_WAKING.kind,
            ),
        ),
    ),
    sections=(Section("alerts", "Alerts", _alerts), Section("detection", "Detection", _detection)),
    tiles=_tiles,
    claims=_claims,
    done=_done,
    answers=_answers,
    excused=_excused,
    tables=_tables,
    lines=_lines,
)
