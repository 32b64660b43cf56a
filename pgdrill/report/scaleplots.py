"""The plot of a pooler that follows its load: pods, CPU and transactions over time."""

from collections.abc import Iterable, Sequence
from itertools import pairwise

from markupsafe import Markup

from pgdrill.judge.scaling import grown_after, shrunk_after
from pgdrill.records import ScalePoint, Scaling
from pgdrill.report.number_format import seconds
from pgdrill.report.svg import CHARACTER, WIDTH, Canvas, Point, Scale, broken_at_holes, nice_top

LEFT, RIGHT = 64, WIDTH - 18
PANEL, APART = 84, 34  # pixels: height of a panel, and what is between two


def pods(s: Scaling) -> list[str]:
    """Return the names of all pods, in the order in which they came."""
    return list(dict.fromkeys(name for point in s.points for name in point.pods))


def peak_cpu(s: Scaling, name: str) -> float | None:
    """Return the highest CPU use of a pod, in cores."""
    seen = [point.pods[name].cpu for point in s.points if name in point.pods]
    return max((cores for cores in seen if cores is not None), default=None)


def over_time(s: Scaling) -> Markup:
    """Pods wanted and ready, CPU against its target, and transactions of each pod, on one axis."""
    if len(s.points) < 2:
        return Markup("")
    start = s.surge.started_at
    x = Scale(s.points[0].at - start, s.points[-1].at - start, LEFT, RIGHT)
    canvas = Canvas(3 * (PANEL + APART) + 56, "Pooler under load")
    tops = [APART + row * (PANEL + APART) for row in range(3)]
    bottom = tops[-1] + PANEL
    ended = x(s.surge.ended_at - start)
    canvas.bar(x(0), tops[0], ended, bottom, "under-load", f"load: {s.surge.transactions:,}")
    canvas.x_axis(x, bottom, tops[0], "seconds after the load began")
    _sizes(canvas, x, tops[0], s)
    _cpu(canvas, x, tops[1], s)
    _carried(canvas, x, tops[2], s)
    _marks(canvas, x, bottom, s)
    _legend(canvas, bottom + 40, pods(s))
    return canvas.svg()


def _sizes(canvas: Canvas, x: Scale, top: float, s: Scaling) -> None:
    y = _panel(canvas, top, s.most, "pods: wanted by the autoscaler (dotted), ready (line)")
    start = s.surge.started_at
    for kind, values, tip in (
        ("target", [(p.at - start, float(p.desired)) for p in s.points], "wanted"),
        ("series1", [(p.at - start, float(p.ready)) for p in s.points], "ready"),
    ):
        for run in broken_at_holes(values):
            canvas.path(_steps((x(a), y(b)) for a, b in run), kind, tip)


def _cpu(canvas: Canvas, x: Scale, top: float, s: Scaling) -> None:
    seen = [
        (p.at - s.surge.started_at, p.utilisation) for p in s.points if p.utilisation is not None
    ]
    highest = max([s.target, *(value for _, value in seen)])
    y = _panel(canvas, top, highest, "CPU by the autoscaler's metric, % of what the pods request")
    canvas.line(LEFT, y(s.target), RIGHT, y(s.target), "target", "the autoscaler's target")
    for run in broken_at_holes(seen):
        canvas.path(_steps((x(a), y(b)) for a, b in run), "series2", "CPU")


def _carried(canvas: Canvas, x: Scale, top: float, s: Scaling) -> None:
    lines = {name: rates(s.points, name, s.surge.started_at) for name in pods(s)}
    highest = max((rate for line in lines.values() for _, rate in line), default=0.0)
    y = _panel(canvas, top, highest, "transactions/s of each pod")
    for index, (name, line) in enumerate(lines.items()):
        for run in broken_at_holes(line):
            canvas.path([(x(a), y(b)) for a, b in run], f"member{index % 5}", name)


def _marks(canvas: Canvas, x: Scale, bottom: float, s: Scaling) -> None:
    grown, shrunk = grown_after(s), shrunk_after(s)
    if grown is not None:
        canvas.line(x(grown), 16, x(grown), bottom, "mark upright", "a second pod is ready")
        canvas.text(x(grown) + 3, 14, f"second pod +{seconds(grown)}", "t strong")
    if shrunk is not None:
        at = x(shrunk + s.surge.seconds)
        canvas.line(at, 16, at, bottom, "mark upright", "small again")
        canvas.text(at - 3, 14, f"small {seconds(shrunk)} after the load", "t strong", "end")


def _legend(canvas: Canvas, top: float, names: Sequence[str]) -> None:
    left = float(LEFT)
    for index, name in enumerate(names):
        canvas.bar(left, top, left + 10, top + 10, f"key{index % 5}")
        canvas.text(left + 14, top + 9, name)
        left += 34 + CHARACTER * len(name)


def _panel(canvas: Canvas, top: float, highest: float, title: str) -> Scale:
    y = Scale(0, nice_top(highest), top + PANEL, top)
    canvas.y_axis(y, LEFT, RIGHT, title)
    return y


def _steps(points: Iterable[Point]) -> list[Point]:
    """Return a line that keeps each value until the next one."""
    kept = list(points)
    return kept[:1] + [p for (_, y), after in pairwise(kept) for p in ((after[0], y), after)]


def rates(points: Sequence[ScalePoint], name: str, start: float) -> list[Point]:
    """Return a pod's transactions/s from look to look, in seconds after an instant."""
    seen = [
        (point.at, pod.transactions)
        for point in points
        if (pod := point.pods.get(name)) and pod.transactions is not None
    ]
    return [
        (at - start, (now - before) / (at - earlier))
        for (earlier, before), (at, now) in pairwise(seen)
    ]
