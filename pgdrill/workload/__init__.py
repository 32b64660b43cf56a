"""Load: the seeded dataset, pgbench for steady state, the prober and its ledger for faults."""
