"""The base of every record."""

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """An immutable record that survives a round trip through JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid")
