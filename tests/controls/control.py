"""A control: a sabotaged set-up must make the suite's own judgement come out broken."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from pgdrill.faults.base import FaultNotRealError
from pgdrill.judge.verdicts import BrokenBudgetError, Verdicts
from pgdrill.observe.prometheus import NoDataError
from pgdrill.records import Budget, Outcome, append

NO_EVIDENCE = (FaultNotRealError, NoDataError)  # how the suite refuses before it judges


@dataclass(frozen=True)
class Control:
    """Keeps the verdicts that a sabotage must turn, with what was expected of them."""

    file: Path
    test: str
    broken: set[str] = field(default_factory=set)  # keys of the promises that came out so

    @contextmanager
    def must_be(
        self, expected: Outcome, sabotage: str, *budgets: Budget, why: str = ""
    ) -> Iterator[Verdicts]:
        """Judge in this block as the suite does; every verdict on these budgets must come out so.

        Verdicts on other budgets do not matter here and are not kept. why: a text that the notes
        of these verdicts must contain, so that red for another reason does not pass.

        Raises:
            AssertionError: the suite stayed green, or another verdict came out than expected.
        """
        tried = Verdicts(None, self.test, expected)
        red = True
        try:
            yield tried
            red = False
        except BrokenBudgetError:
            pass
        except NO_EVIDENCE as error:
            for budget in budgets:
                with suppress(BrokenBudgetError):
                    tried.check(budget, None, "refused", str(error))
        about = [verdict for verdict in tried.given if verdict.budget in budgets]
        for verdict in about:
            subject = f"{sabotage}: {verdict.subject}"
            append(self.file, verdict.model_copy(update={"subject": subject}))
        wrong = [
            f"{v.outcome}: {v.line()}" for v in about if v.outcome != expected or why not in v.note
        ]
        missing = [b.name for b in budgets if b not in {v.budget for v in about}]
        assert not wrong, f"{sabotage}: must be {expected}, with '{why}', but is\n" + "\n".join(
            wrong
        )
        assert not missing, f"{sabotage}: nobody judged {', '.join(missing)}"
        assert red, f"{sabotage}: the suite stayed green"
        if expected == "broken":
            self.broken.update(budget.id for budget in budgets)
