"""Budgets (what we promise) and verdicts (whether it was kept)."""
