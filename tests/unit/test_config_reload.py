"""The changes that make settings equal to a file."""

from pgdrill.platforms.local.config_reload import difference


def test_the_difference_names_what_is_new_other_and_gone() -> None:
    """Only differences are in it, at every depth; a removed key is None, as Patroni needs it."""
    wanted = {"ttl": 20, "postgresql": {"parameters": {"a": 1, "b": "on"}, "use_slots": True}}
    there = {"ttl": 30, "gone": 1, "postgresql": {"parameters": {"a": 1, "c": 2}}}
    assert difference(wanted, there) == {
        "ttl": 20,
        "gone": None,
        "postgresql": {"parameters": {"b": "on", "c": None}, "use_slots": True},
    }
    assert difference(wanted, wanted) == {}
    assert difference(wanted, {}) == wanted
