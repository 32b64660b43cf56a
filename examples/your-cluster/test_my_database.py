"""What our users may notice of a failure of the database."""


def test_clients_write_again_after_a_killed_primary(drill):
    """A killed primary costs clients half a minute at most, and no acknowledged write."""
    drill("primary_kill")


def test_nobody_notices_a_killed_standby(drill):
    """A killed standby holds nobody up."""
    (trial, *_) = drill("standby_kill")
    assert trial.timeline_after == trial.timeline_before
