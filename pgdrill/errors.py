"""The two ways in which a command refuses: a wrong request, or an unsuitable machine."""


class PgdrillError(Exception):
    """One clear line for the user: what is wrong, why, and what to do next."""

    exit_code = 1


class BadUsageError(PgdrillError):
    """An option or file holds an impossible value (exit code 4, as pytest's own)."""

    exit_code = 4


class BrokenEnvironmentError(PgdrillError):
    """The machine or the cluster lacks what the command needs (exit code 2)."""

    exit_code = 2
