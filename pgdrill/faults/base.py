"""The contract of a fault: inject, verify injected, heal, verify healed."""

from typing import Protocol


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
