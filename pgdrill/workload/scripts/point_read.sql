-- One row by its key: next to no work for the database, so that what is left is the pooler's.
\set aid random(1, 100000 * :scale)
SELECT abalance FROM bench.pgbench_accounts WHERE aid = :aid;
