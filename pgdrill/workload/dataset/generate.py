"""Values of every table as numpy columns: skewed as a shop is, linked, the same for a seed.

Only whole numbers, + - * / and sqrt are used, which every machine rounds alike: log and exp
differ in the last bit between processors, and one bit is another checksum.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from pgdrill.workload.dataset.encode import Array, Column, Digits, Drawn, Joined, Maybe, Pool
from pgdrill.workload.dataset.pools import Pools, make
from pgdrill.workload.dataset.schema import (
    TABLES,
    cancelled,
    instalments,
    pending,
    split,
    unshipped,
)

# Part of the manifest: raise it with any change of values, so that older datasets are replaced.
VERSION = 1

ROW_MEMORY = 64  # bytes at most; measured: 10 million rows peak at 609 MB, Python included

DAY = 86_400_000_000  # microseconds
HOUR = DAY // 24
# Fixed, never today: days and microseconds since 2000-01-01, as PostgreSQL counts.
OPENED, CLOSED = 8401, 9497  # 2023-01-01 and 2026-01-01: the shop's three years
STATUSES = ("pending", "cancelled", "paid", "shipped", "delivered")
METHODS = ("card", "paypal", "invoice", "bank transfer", "gift card")
CARRIERS = ("DHL", "UPS", "FedEx", "GLS", "DPD", "La Poste")


@dataclass
class Shop:
    """The tables made so far: a child looks up its parents' values here."""

    rows: int
    seed: int
    pools: Pools
    size: Mapping[str, int]
    tables: dict[str, Mapping[str, Column]] = field(default_factory=dict)

    def random(self, table: str) -> np.random.Generator:
        """Random numbers of one table, independent of how many another one drew."""
        return np.random.Generator(np.random.PCG64([self.seed, TABLES.index(table)]))

    def array(self, table: str, column: str) -> Array:
        """A finished column of plain values."""
        values = self.tables[table][column]
        if not isinstance(values, np.ndarray):
            raise TypeError(f"{table}.{column} is no plain column")
        return values


def generate(rows: int, seed: int) -> Iterator[tuple[str, Mapping[str, Column], int]]:
    """Yield (table, columns, number of rows), parents first; ROW_MEMORY for each row."""
    shop = Shop(rows, seed, make(seed), split(rows))
    for table in TABLES:
        shop.tables[table] = MAKERS[table](shop, shop.random(table), shop.size[table])
        yield table, shop.tables[table], shop.size[table]


def popular(rng: np.random.Generator, choices: int, draws: int, head: int) -> Array:
    """Draw 0..choices-1 with weight 1/(rank + head): Zipf's law with a flattened head."""
    edges = np.cumsum(1.0 / (np.arange(choices) + head))
    drawn: Array = np.searchsorted(edges, rng.random(draws) * edges[-1])
    return drawn


def ids(count: int) -> Array:
    """1..count."""
    return np.arange(1, count + 1)


def covering(rng: np.random.Generator, parents: int, count: int) -> Array:
    """Parents' ids in order, each at least once when count allows it, the rest by popularity."""
    more = popular(rng, parents, max(count - parents, 0), max(parents // 50, 1)) + 1
    return np.sort(np.concatenate([ids(parents)[:count], more]))


def position(groups: Array) -> Array:
    """Number equal neighbours 1, 2, 3..., for instance lines within an order."""
    starts = np.flatnonzero(np.diff(groups, prepend=groups[0] - 1))
    lengths = np.diff(starts, append=len(groups))
    return np.arange(len(groups)) - np.repeat(starts, lengths) + 1


def pick(rng: np.random.Generator, pool: Pool, count: int) -> Drawn:
    """Draw from a pool, every value as likely."""
    return Drawn(pool, rng.integers(0, len(pool), count))


def word(rng: np.random.Generator, words: tuple[str, ...], count: int) -> Drawn:
    """Draw a word, the first ones more often."""
    return Drawn(Pool.of(words), popular(rng, len(words), count, 1))


def _countries(shop: Shop, rng: np.random.Generator, n: int) -> dict[str, Column]:
    order = rng.permutation(len(shop.pools.country_codes))[:n]
    return {
        "id": ids(n),
        "code": Drawn(shop.pools.country_codes, order),
        "name": Drawn(shop.pools.country_names, order),
        "currency": pick(rng, shop.pools.currencies, n),
        "vat": rng.integers(0, 28, n) * 100,
    }


def _cities(shop: Shop, rng: np.random.Generator, n: int) -> dict[str, Column]:
    return {
        "id": ids(n),
        "country_id": covering(rng, shop.size["countries"], n),
        "name": pick(rng, shop.pools.cities, n),
        "timezone": pick(rng, shop.pools.timezones, n),
        "population": 5_000_000 // (1 + popular(rng, 2_000, n, 5)),
        "latitude": rng.integers(-550_000, 700_000, n) / 10_000,
    }


def _categories(shop: Shop, rng: np.random.Generator, n: int) -> dict[str, Column]:
    roots = max(n // 10, 3)
    parent = 1 + rng.integers(0, np.maximum(ids(n) - 1, 1))  # an earlier one: never a cycle
    return {
        "id": ids(n),
        "parent_id": Maybe(parent, ids(n) > roots),
        "name": pick(rng, shop.pools.category_names, n),
        "keywords": pick(rng, shop.pools.keywords, n),
    }


def _suppliers(shop: Shop, rng: np.random.Generator, n: int) -> dict[str, Column]:
    return {
        "id": ids(n),
        "city_id": popular(rng, shop.size["cities"], n, 10) + 1,
        "name": pick(rng, shop.pools.companies, n),
        "contact": pick(rng, shop.pools.people, n),
        "partner_since": OPENED - rng.integers(0, 3650, n),
        "active": rng.random(n) < 0.94,
    }


def _products(shop: Shop, rng: np.random.Generator, n: int) -> dict[str, Column]:
    price = rng.random(n)
    return {
        "id": ids(n),
        "category_id": popular(rng, shop.size["categories"], n, 5) + 1,
        "supplier_id": popular(rng, shop.size["suppliers"], n, 5) + 1,
        "sku": Joined((Drawn(Pool.of(["SKU-"]), np.zeros(n, int)), Digits(ids(n) * 7, 10))),
        "name": pick(rng, shop.pools.products, n),
        "price": (199 + price * price * price * 150_000).astype(np.int64) // 10 * 10 + 9,
        "weight_grams": 20 + popular(rng, 30_000, n, 200),
        "tags": pick(rng, shop.pools.keywords, n),
        "attributes": pick(rng, shop.pools.attributes, n),
        "listed_on": OPENED - rng.integers(0, 900, n),
        "discontinued": rng.random(n) < 0.06,
    }


def _customers(shop: Shop, rng: np.random.Generator, n: int) -> dict[str, Column]:
    email = (pick(rng, shop.pools.handles, n), Digits(ids(n), 9), pick(rng, shop.pools.domains, n))
    return {
        "id": ids(n),
        "email": Joined(email),
        "name": pick(rng, shop.pools.people, n),
        "born_on": Maybe(OPENED - rng.integers(18 * 365, 85 * 365, n), rng.random(n) < 0.8),
        # Before the first day of trade: nobody orders who has not registered.
        "registered_at": OPENED * DAY - rng.integers(1, 700 * DAY, n),
        "last_address": rng.integers(1, 255, (n, 4), np.uint8),
        "newsletter": rng.random(n) < 0.35,
    }


def _addresses(shop: Shop, rng: np.random.Generator, n: int) -> dict[str, Column]:
    customer = covering(rng, shop.size["customers"], n)
    space = Drawn(Pool.of([" "]), np.zeros(n, int))
    house = Drawn(Pool.of([str(i) for i in range(1, 200)]), popular(rng, 199, n, 20))
    return {
        "id": ids(n),
        "customer_id": customer,
        "city_id": popular(rng, shop.size["cities"], n, 10) + 1,
        "street": Joined((pick(rng, shop.pools.streets, n), space, house)),
        "postcode": Digits(rng.integers(1_000, 99_999, n), 5),
        "is_default": position(customer) == 1,
    }


def _orders(shop: Shop, rng: np.random.Generator, n: int) -> dict[str, Column]:
    customers = shop.size["customers"]
    customer = popular(rng, customers, n, max(customers // 50, 1)) + 1
    owner = shop.array("addresses", "customer_id")  # in order, so each one's are neighbours
    first, last = (np.searchsorted(owner, customer, side) for side in ("left", "right"))
    address = first + rng.integers(0, last - first) + 1
    day = np.sqrt(rng.random(n)) * (CLOSED - OPENED)  # trade grows evenly over the years
    hour = 7 * HOUR + (rng.random(n) + rng.random(n)) * 8 * HOUR  # busiest in the afternoon
    placed = np.sort((OPENED + day.astype(np.int64)) * DAY + hour.astype(np.int64))
    items = np.sort(np.concatenate([ids(n), *_further_items(shop, rng, n)]))
    shop.tables["order_items"] = _items(shop, shop.random("order_items"), items)
    value = shop.array("order_items", "quantity") * shop.array("order_items", "unit_price")
    return {
        "id": ids(n),
        "customer_id": customer,
        "address_id": address,
        "status": Drawn(Pool.of(STATUSES), _status(rng, n)),
        "placed_at": placed,
        "total": np.bincount(items, weights=value)[1:].astype(np.int64),
    }


def _further_items(shop: Shop, rng: np.random.Generator, orders: int) -> Iterator[Array]:
    """Which orders get more than one line: most few, some many."""
    even = rng.random(shop.size["order_items"] - orders)
    yield rng.permutation(orders)[((even + even * even) / 2 * orders).astype(np.int64)] + 1


def _status(rng: np.random.Generator, n: int) -> Array:
    """Exact numbers of each: the newest are pending or paid, cancelled ones are anywhere."""
    status = np.full(n, STATUSES.index("delivered"))
    older = n - pending(n)
    status[older:] = STATUSES.index("pending")
    status[rng.permutation(older)[: cancelled(n)]] = STATUSES.index("cancelled")
    left = np.flatnonzero(status == STATUSES.index("delivered"))
    on_the_way = unshipped(n) + n // 30
    status[left[len(left) - on_the_way :]] = STATUSES.index("shipped")
    status[left[len(left) - unshipped(n) :]] = STATUSES.index("paid")
    return status


def _items(shop: Shop, rng: np.random.Generator, order: Array) -> dict[str, Column]:
    n = len(order)
    product = popular(rng, shop.size["products"], n, 10) + 1
    discount = np.array([0, 0, 0, 0, 0, 5, 10, 25])[rng.integers(0, 8, n)]  # per cent
    return {
        "order_id": order,
        "line": position(order),
        "product_id": product,
        "quantity": 1 + popular(rng, 12, n, 1) // 2,
        "unit_price": shop.array("products", "price")[product - 1] * (100 - discount) // 100,
    }


def _order_items(shop: Shop, rng: np.random.Generator, n: int) -> Mapping[str, Column]:
    return shop.tables["order_items"]  # made with the orders, whose totals they are


def _orders_with(shop: Shop, *statuses: str) -> Array:
    status = shop.tables["orders"]["status"]
    assert isinstance(status, Drawn)
    wanted = [STATUSES.index(name) for name in statuses]
    return np.flatnonzero(np.isin(status.index, wanted)) + 1


def _payments(shop: Shop, rng: np.random.Generator, n: int) -> dict[str, Column]:
    paid = _orders_with(shop, "paid", "shipped", "delivered")
    twice = rng.permutation(paid)[: instalments(len(paid))]
    order = np.sort(np.concatenate([paid, twice]))
    total = shop.array("orders", "total")[order - 1]
    deposit = total * rng.integers(20, 60, shop.size["orders"])[order - 1] // 100
    number = position(order)
    in_two = np.isin(order, twice)
    delay = rng.integers(1_000_000, HOUR, n) + (number - 1) * 14 * DAY
    return {
        "id": ids(n),
        "order_id": order,
        "method": word(rng, METHODS, n),
        "amount": np.where(in_two, np.where(number == 1, deposit, total - deposit), total),
        "paid_at": shop.array("orders", "placed_at")[order - 1] + delay,
        "reference": rng.integers(0, 256, (n, 16), np.uint8),
    }


def _shipments(shop: Shop, rng: np.random.Generator, n: int) -> dict[str, Column]:
    order = _orders_with(shop, "shipped", "delivered")
    shipped = shop.array("orders", "placed_at")[order - 1] + rng.integers(2 * HOUR, 3 * DAY, n)
    arrived = np.isin(order, _orders_with(shop, "delivered"))
    return {
        "id": ids(n),
        "order_id": order,
        "carrier": word(rng, CARRIERS, n),
        "tracking": Digits(rng.integers(10**11, 10**12, n), 12),
        "shipped_at": shipped,
        "delivered_at": Maybe(shipped + rng.integers(6 * HOUR, 6 * DAY, n), arrived),
    }


def _reviews(shop: Shop, rng: np.random.Generator, n: int) -> dict[str, Column]:
    items = shop.array("order_items", "order_id")
    delivered = np.flatnonzero(np.isin(items, _orders_with(shop, "delivered")))
    chosen = np.sort(rng.permutation(delivered)[:n])
    written = shop.array("orders", "placed_at")[items[chosen] - 1]
    return {
        "id": ids(n),
        "order_id": items[chosen],
        "line": shop.array("order_items", "line")[chosen],
        "product_id": shop.array("order_items", "product_id")[chosen],
        "stars": 5 - popular(rng, 5, n, 1),
        "body": pick(rng, shop.pools.reviews, n),
        "written_at": written + rng.integers(9 * DAY, 60 * DAY, n),
    }


Maker = Callable[[Shop, np.random.Generator, int], Mapping[str, Column]]
MAKERS: Mapping[str, Maker] = {
    "countries": _countries,
    "cities": _cities,
    "categories": _categories,
    "suppliers": _suppliers,
    "products": _products,
    "customers": _customers,
    "addresses": _addresses,
    "orders": _orders,
    "order_items": _order_items,
    "payments": _payments,
    "shipments": _shipments,
    "reviews": _reviews,
}
