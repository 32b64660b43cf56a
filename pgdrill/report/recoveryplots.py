"""The course of a restore, from backup to redundancy, and the writes near its point."""

from itertools import pairwise

from markupsafe import Markup

from pgdrill.records import Part, Recovery
from pgdrill.report.number_format import seconds
from pgdrill.report.svg import WIDTH, Canvas, Scale, staggered

LEFT, RIGHT = 12, WIDTH - 18
TOP, BAR, ROW = 26, 26, 16  # pixels: of the bars, their height, a row of labels
NAMES = 96  # pixels for the names of rows
LANES, WRITE, FEWEST = 8, 5, 4.0  # writes above each other, height of one, its least width


def stages(r: Recovery) -> list[tuple[Part, float]]:
    """Return each step of the restore with the seconds that it took by itself."""
    begun = [Part(name="", after=0.0), *r.steps]
    return [(step, step.after - before.after) for before, step in pairwise(begun)]


def course(r: Recovery) -> Markup:
    """Draw everything on one axis that begins with the backup."""
    start = r.backup.began
    end = r.began + max((part.after for part in r.steps), default=1.0) - start
    x = Scale(0, end, LEFT, RIGHT)
    marks = [
        (x(r.point - start), f"point, {r.kind}"),
        (x(r.destroyed_at - start), "destroyed"),
        *(
            (x(r.began + step.after - start), f"{step.name} +{seconds(step.after)}")
            for step in r.steps
        ),
    ]
    marks.sort()
    placed = staggered([(at, text) for at, text in marks], RIGHT)
    rows = 1 + max(row for _, row in placed)
    bottom = TOP + BAR + 8
    canvas = Canvas(bottom + rows * ROW + 44, "Course of a restore")
    taken = f"backup {seconds(r.backup.seconds)}"
    canvas.bar(x(0), TOP, x(r.backup.seconds), TOP + BAR, "part0", taken)
    canvas.text(x(0) + 2, TOP - 8, taken, "t strong")
    before = r.began - start
    for index, (step, took) in enumerate(stages(r)):
        after = r.began + step.after - start
        canvas.bar(
            x(before),
            TOP,
            x(after),
            TOP + BAR,
            f"part{1 + index % 4}",
            f"{step.name} {seconds(took)}",
        )
        before = after
    for (at, text), (left, row) in zip(marks, placed, strict=True):
        kind = "fault" if text == "destroyed" else "mark"
        canvas.line(at, TOP, at, bottom + row * ROW + 4, f"{kind} upright", text)
        canvas.text(left + 3, bottom + row * ROW + 12, text, "t")
    canvas.x_axis(
        x, bottom + rows * ROW + 8, bottom + rows * ROW + 4, "seconds after the backup began"
    )
    return canvas.svg()


def ledger(r: Recovery) -> Markup | None:
    """Draw each write near the point from its start to its answer: those that came back, above."""
    if not r.neighbours:
        return None
    reach = max(max(-n.began, n.ended) for n in r.neighbours)
    x = Scale(-reach, reach, NAMES, RIGHT)
    height = LANES * (WRITE + 1)
    canvas = Canvas(TOP + 2 * height + 62, "Writes near the point")
    rows = ((True, "restored", TOP), (False, "not restored", TOP + height + 14))
    for there, name, top in rows:
        canvas.text(LEFT, top + height / 2 + 4, name, "t strong")
        writes = [n for n in r.neighbours if n.there is there]
        for index, n in enumerate(writes):
            y = top + index % LANES * (WRITE + 1)
            right = max(x(n.ended), x(n.began) + FEWEST)
            tip = f"sent {n.began:+.3f} s, {n.outcome} {n.ended:+.3f} s"
            canvas.bar(x(n.began), y, right, y + WRITE, n.outcome, tip)
    bottom = TOP + 2 * height + 14
    destroyed = r.destroyed_at - r.point
    canvas.line(x(0), TOP - 8, x(0), bottom, "mark upright", "point")
    canvas.text(x(0) + 3, TOP - 10, f"point, {r.kind}", "t")
    if destroyed < reach:
        canvas.line(x(destroyed), TOP - 8, x(destroyed), bottom, "fault upright", "destroyed")
        canvas.text(x(destroyed) + 3, TOP - 10, "destroyed", "t")
    canvas.x_axis(x, bottom + 14, bottom + 4, "seconds from the point")
    return canvas.svg()
