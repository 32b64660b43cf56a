"""The dataset: a believable shop in schema `shop`, the same on every machine for the same seed.

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

from pgdrill.workload.dataset.schema import SCHEMA, TABLES, Table, split

__all__ = ["SCHEMA", "TABLES", "Table", "split"]
