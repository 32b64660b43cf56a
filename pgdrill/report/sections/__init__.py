"""One module for each suite that has a part in the report: its SUITE is found by suites.py."""
