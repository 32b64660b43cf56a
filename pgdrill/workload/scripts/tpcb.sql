-- pgbench's tpcb-like, its tables named with their schema: works through any connection pooler.
\set aid random(1, 100000 * :scale)
\set bid random(1, 1 * :scale)
\set tid random(1, 10 * :scale)
\set delta random(-5000, 5000)
BEGIN;
UPDATE bench.pgbench_accounts SET abalance = abalance + :delta WHERE aid = :aid;
SELECT abalance FROM bench.pgbench_accounts WHERE aid = :aid;
UPDATE bench.pgbench_tellers SET tbalance = tbalance + :delta WHERE tid = :tid;
UPDATE bench.pgbench_branches SET bbalance = bbalance + :delta WHERE bid = :bid;
INSERT INTO bench.pgbench_history (tid, bid, aid, delta, mtime) VALUES (:tid, :bid, :aid, :delta, CURRENT_TIMESTAMP);
END;
