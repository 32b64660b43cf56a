-- One row by its key: almost no work for the database, so that the pooler has most of the load.
\set aid random(1, 100000 * :scale)
SELECT abalance FROM bench.pgbench_accounts WHERE aid = :aid;
