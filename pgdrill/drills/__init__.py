"""Measurements: each drives a cluster through something and keeps what was seen, without pytest."""
