"""The contract of a fault: inject, verify injected, heal, verify healed."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

# Faults whose healing was interrupted and not done later, and what to do, for the end of a run.
left: dict[str, str] = {}


class FaultNotRealError(AssertionError):
    """The fault left no trace where it should have: nothing measured after it counts."""


class Fault(Protocol):
    """A named way to break something. One object serves one injection at a time."""

    name: str

    def inject(self) -> str:
        """Break it, and return the name of the member that was hit."""

    def verify_injected(self) -> str:
        """Return one line of evidence that the fault is real.

        Raises:
            FaultNotRealError: there is none.
        """

    def heal(self) -> None:
        """Undo it; safe to repeat, safe when nothing was injected, needs no healthy database."""

    def verify_healed(self) -> str:
        """Return one line of evidence that nothing of the fault is left.

        Raises:
            FaultNotRealError: something is.
        """


@runtime_checkable
class NeedsPlacement(Protocol):
    """A fault that can hit a member only in certain places."""

    def place(self) -> None:
        """Bring a member of its role to where it can be hit, before the clients start to write.

        Raises:
            BrokenEnvironmentError: it cannot be moved.
            DeadlineError: it did not move.
        """


@contextmanager
def healing(fault: Fault) -> Iterator[None]:
    """Heal a fault at the end of the block, whatever happens in it.

    An interruption of the healing is obeyed at once, and what may be left is noted.
    """
    try:
        yield
    finally:
        try:
            fault.heal()
        except KeyboardInterrupt:
            left[fault.name] = (
                f"{fault.name} was not healed: `make up` puts right what it left, or `make down`"
                " removes all"
            )
            raise
        left.pop(fault.name, None)
