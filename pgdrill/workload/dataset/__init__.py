"""The dataset: a realistic shop in schema `shop`, the same on every machine for the same seed.

Tables (TABLES, parents first) and their keys; ids are dense, 1..n with n from `split(rows)`:

    countries(id)  cities(id, country_id)  categories(id, parent_id)  suppliers(id, city_id)
    products(id, category_id, supplier_id)         low ids are the most popular (Zipf-like)
    customers(id)                                  low ids order most
    addresses(id, customer_id, city_id)            every customer has at least one
    orders(id, customer_id, address_id)            in order of placed_at
    order_items(order_id, line, product_id)        every order has at least line 1
    payments(id, order_id)  shipments(id, order_id)
    reviews(id, order_id, line, product_id)        at most one for each order line

Indexed: orders(customer_id, placed_at), orders(placed_at), order_items(order_id, line),
order_items(product_id), payments(order_id), shipments(order_id), reviews(product_id),
addresses(customer_id, id), products(category_id), products(supplier_id), customers(email).

A load reads these twelve and writes only to shop.page_views(customer_id, product_id) and
shop.carts(customer_id primary key, product_id, quantity, changed_at): both start empty and are in
no checksum, so the dataset can be verified at any time.
"""

from collections.abc import Callable, Mapping

from pgdrill.records import Seed
from pgdrill.workload.dataset import manifest
from pgdrill.workload.dataset.checksum import DatasetError, compare, demand, survey
from pgdrill.workload.dataset.load import Loader, Progress, must_fit, must_fit_on_volumes
from pgdrill.workload.dataset.schema import SCHEMA, TABLES, Table, split
from pgdrill.workload.dataset.sessions import Sessions

__all__ = ["SCHEMA", "TABLES", "DatasetError", "Table", "seed", "split", "verify"]

PRIMARY = "the read-write address"
REMEDY = (
    "nothing of pgdrill's writes to these tables once they are loaded; find out what did, then"
    " load them anew with --reseed (`make seed RESEED=1`)"
)


def seed(
    primary: str,
    members: Mapping[str, str],
    *,
    rows: int,
    seed: int,
    progress: Progress | None = None,
    within: float = 600,
    free: Callable[[], Mapping[str, int]] = dict,
    reseed: bool = False,
) -> Seed:
    """Make sure that the dataset of this seed is there, whole and the same on every member.

    A complete one is checked and kept; another seed or size, or a load that was interrupted, is
    replaced. Rows that are no longer as they were loaded are replaced with reseed only. primary and
    the members are libpq connection strings; within is seconds for all of it. progress gets (table
    or phase, done, total, per second), from several threads but one call at a time. free returns
    the bytes that are left on each member's volume, as far as that is known. Seed.seconds is how
    long loading and checking took when the rows were loaded.

    Raises:
        BrokenEnvironmentError: no usable database, another seed runs, too little memory or room
            on a volume, or the primary was lost.
        DatasetError: rows that were loaded before have changed, or a member holds others.
        DeadlineError: a member did not replay the load in time.
    """
    tell = progress or (lambda what, done, total, rate: None)
    with Sessions(within) as sessions, sessions.open(primary) as control:
        manifest.lock(control)
        known = manifest.find(control)
        if known and known.describes(rows, seed):
            tell("checksum", 0, len(members), 0.0)
            primary_holds, seen = survey(sessions, control, members)
            wrong = compare(known.tables, {PRIMARY: primary_holds} | seen)
            if not wrong:
                return _record(known, tuple(seen), reused=True)
            if not reseed:
                raise DatasetError(f"{'; '.join(wrong)}: {REMEDY}")
        must_fit_on_volumes(rows, free(), control)
        must_fit(rows)
        sessions.doing = "making the schema"
        manifest.clear(control)
        sessions.must_be_replicated()
        Loader(sessions, primary, tell).load(rows, seed)
        sessions.must_be_replicated()
        tell("checksum", 0, len(members), 0.0)
        tables, seen = survey(sessions, control, members)
        agreeing = demand(tables, seen)
        tell("checksum", len(members), len(members), 0.0)
        made = manifest.Manifest(rows, seed, sessions.within - sessions.left(), tables)
        manifest.write(control, made)
        sessions.must_be_replicated()
        return _record(made, agreeing, reused=False)


def verify(primary: str, members: Mapping[str, str], *, within: float) -> Seed | None:
    """Check the dataset against its manifest on every member; None when there is none.

    within is seconds. Changes nothing.

    Raises:
        BrokenEnvironmentError: the primary or a member does not answer.
        DatasetError: naming each table and member that differs from what was loaded.
        DeadlineError: a member did not replay in time.
    """
    with Sessions(within) as sessions, sessions.open(primary) as control:
        known = manifest.find(control)
        if known is None:
            return None
        primary_holds, seen = survey(sessions, control, members)
        agreeing = demand(known.tables, {PRIMARY: primary_holds} | seen)[1:]
        return _record(known, agreeing, reused=True)


def _record(made: manifest.Manifest, agreeing: tuple[str, ...], *, reused: bool) -> Seed:
    return Seed(
        rows=made.rows,
        seed=made.seed,
        seconds=made.seconds,
        reused=reused,
        tables=made.tables,
        agreeing_members=agreeing,
    )
