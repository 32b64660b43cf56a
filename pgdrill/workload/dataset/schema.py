"""The shop: twelve linked tables, their keys, and how a number of rows is shared among them.

The loader uses the same columns: a value is encoded by its column's type. Keys, indexes and
references are separate because they are made after the rows are loaded.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """One table: (column, type and checks), key constraints, indexes, references."""

    name: str
    columns: Mapping[str, str]
    keys: tuple[str, ...]
    indexes: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    nullable: frozenset[str] = frozenset()

    def create(self) -> str:
        """The statement that makes the bare table."""
        lines = [
            f"{name} {kind}{'' if name in self.nullable else ' NOT NULL'}"
            for name, kind in self.columns.items()
        ]
        return f"CREATE TABLE shop.{self.name} ({', '.join(lines)})"

    def add_keys(self) -> list[str]:
        """Statements that add keys and indexes to the loaded table."""
        adding = ", ".join(f"ADD {key}" for key in self.keys)
        return [
            f"ALTER TABLE shop.{self.name} {adding}",
            *(f"CREATE INDEX ON shop.{self.name} ({columns})" for columns in self.indexes),
        ]

    def add_references(self) -> list[str]:
        """Statements that add foreign keys without reading the rows yet."""
        return [
            f"ALTER TABLE shop.{self.name} ADD CONSTRAINT {self.name}_{number}_fk"
            f" FOREIGN KEY {reference} NOT VALID"
            for number, reference in enumerate(self.references, 1)
        ]

    def check_references(self) -> list[str]:
        """Statements that prove every foreign key; they lock no one out of a parent table."""
        return [
            f"ALTER TABLE shop.{self.name} VALIDATE CONSTRAINT {self.name}_{number}_fk"
            for number in range(1, len(self.references) + 1)
        ]


SCHEMA: tuple[Table, ...] = (
    Table(
        "countries",
        {"id": "integer", "code": "text", "name": "text", "currency": "text", "vat": "numeric"},
        keys=("PRIMARY KEY (id)", "UNIQUE (code)"),
    ),
    Table(
        "cities",
        {
            "id": "integer",
            "country_id": "integer",
            "name": "text",
            "timezone": "text",
            "population": "integer",
            "latitude": "float8",
        },
        keys=("PRIMARY KEY (id)",),
        indexes=("country_id",),
        references=("(country_id) REFERENCES shop.countries (id)",),
    ),
    Table(
        "categories",
        {"id": "integer", "parent_id": "integer", "name": "text", "keywords": "text[]"},
        keys=("PRIMARY KEY (id)",),
        indexes=("parent_id",),
        references=("(parent_id) REFERENCES shop.categories (id)",),
        nullable=frozenset({"parent_id"}),
    ),
    Table(
        "suppliers",
        {
            "id": "integer",
            "city_id": "integer",
            "name": "text",
            "contact": "text",
            "partner_since": "date",
            "active": "boolean",
        },
        keys=("PRIMARY KEY (id)",),
        indexes=("city_id",),
        references=("(city_id) REFERENCES shop.cities (id)",),
    ),
    Table(
        "products",
        {
            "id": "integer",
            "category_id": "integer",
            "supplier_id": "integer",
            "sku": "text",
            "name": "text",
            "price": "numeric",
            "weight_grams": "integer",
            "tags": "text[]",
            "attributes": "jsonb",
            "listed_on": "date",
            "discontinued": "boolean",
        },
        keys=("PRIMARY KEY (id)", "UNIQUE (sku)"),
        indexes=("category_id", "supplier_id"),
        references=(
            "(category_id) REFERENCES shop.categories (id)",
            "(supplier_id) REFERENCES shop.suppliers (id)",
        ),
    ),
    Table(
        "customers",
        {
            "id": "bigint",
            "email": "text",
            "name": "text",
            "born_on": "date",
            "registered_at": "timestamptz",
            "last_address": "inet",
            "newsletter": "boolean",
        },
        keys=("PRIMARY KEY (id)", "UNIQUE (email)"),
        nullable=frozenset({"born_on"}),
    ),
    Table(
        "addresses",
        {
            "id": "bigint",
            "customer_id": "bigint",
            "city_id": "integer",
            "street": "text",
            "postcode": "text",
            "is_default": "boolean",
        },
        # The second key lets an order prove that its address is its own customer's.
        keys=("PRIMARY KEY (id)", "UNIQUE (customer_id, id)"),
        indexes=("city_id",),
        references=(
            "(customer_id) REFERENCES shop.customers (id)",
            "(city_id) REFERENCES shop.cities (id)",
        ),
    ),
    Table(
        "orders",
        {
            "id": "bigint",
            "customer_id": "bigint",
            "address_id": "bigint",
            "status": "text",
            "placed_at": "timestamptz",
            "total": "numeric",
        },
        keys=("PRIMARY KEY (id)",),
        indexes=("customer_id, placed_at", "placed_at"),
        references=("(customer_id, address_id) REFERENCES shop.addresses (customer_id, id)",),
    ),
    Table(
        "order_items",
        {
            "order_id": "bigint",
            "line": "smallint",
            "product_id": "integer",
            "quantity": "smallint",
            "unit_price": "numeric",
        },
        keys=("PRIMARY KEY (order_id, line)",),
        indexes=("product_id",),
        references=(
            "(order_id) REFERENCES shop.orders (id)",
            "(product_id) REFERENCES shop.products (id)",
        ),
    ),
    Table(
        "payments",
        {
            "id": "bigint",
            "order_id": "bigint",
            "method": "text",
            "amount": "numeric",
            "paid_at": "timestamptz",
            "reference": "uuid",
        },
        keys=("PRIMARY KEY (id)",),
        indexes=("order_id",),
        references=("(order_id) REFERENCES shop.orders (id)",),
    ),
    Table(
        "shipments",
        {
            "id": "bigint",
            "order_id": "bigint",
            "carrier": "text",
            "tracking": "text",
            "shipped_at": "timestamptz",
            "delivered_at": "timestamptz",
        },
        keys=("PRIMARY KEY (id)", "UNIQUE (order_id)"),
        references=("(order_id) REFERENCES shop.orders (id)",),
        nullable=frozenset({"delivered_at"}),
    ),
    Table(
        "reviews",
        {
            "id": "bigint",
            "order_id": "bigint",
            "line": "smallint",
            "product_id": "integer",
            "stars": "smallint",
            "body": "text",
            "written_at": "timestamptz",
        },
        keys=("PRIMARY KEY (id)", "UNIQUE (order_id, line)"),
        indexes=("product_id",),
        references=(
            "(order_id, line) REFERENCES shop.order_items (order_id, line)",
            "(product_id) REFERENCES shop.products (id)",
        ),
    ),
)

TABLES: tuple[str, ...] = tuple(table.name for table in SCHEMA)

# Loads write here, never to the twelve: those must keep their checksums for the whole run.
LOAD_TABLES: tuple[str, ...] = (
    "CREATE TABLE shop.page_views (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,"
    " customer_id bigint NOT NULL REFERENCES shop.customers (id),"
    " product_id integer NOT NULL REFERENCES shop.products (id),"
    " viewed_at timestamptz NOT NULL DEFAULT now())",
    "CREATE TABLE shop.carts (customer_id bigint PRIMARY KEY REFERENCES shop.customers (id),"
    " product_id integer NOT NULL REFERENCES shop.products (id),"
    " quantity integer NOT NULL DEFAULT 1, changed_at timestamptz NOT NULL DEFAULT now())",
)


def split(rows: int) -> dict[str, int]:
    """Rows of each table; together exactly `rows`, which must be at least settings.MIN_ROWS.

    order_items takes what the others leave: about 2.3 lines for each order.
    """
    orders = rows * 16 // 100
    customers = rows * 5 // 100
    unpaid = pending(orders) + cancelled(orders)
    paid = orders - unpaid
    count = {
        "countries": min(max(rows // 10_000, 10), 100),
        "cities": min(max(rows // 500, 20), 20_000),
        "categories": min(max(rows // 5_000, 12), 1_000),
        "suppliers": max(rows // 1_000, 5),
        "products": max(rows // 100, 30),
        "customers": customers,
        "addresses": customers * 135 // 100,
        "orders": orders,
        "order_items": 0,
        "payments": paid + instalments(paid),
        "shipments": paid - unshipped(orders),
        "reviews": rows * 4 // 100,
    }
    count["order_items"] = rows - sum(count.values())
    return count


def pending(orders: int) -> int:
    """The newest orders, not yet paid."""
    return orders // 50


def unshipped(orders: int) -> int:
    """The newest paid orders, still in the warehouse."""
    return orders // 40


def cancelled(orders: int) -> int:
    """Orders cancelled before payment."""
    return orders // 33


def instalments(paid: int) -> int:
    """Orders paid in two parts."""
    return paid // 25
