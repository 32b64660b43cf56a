-- A product goes into a cart. Writes only the two tables that are the load's own, so the seeded
-- twelve keep their checksums.
\set product random_zipfian(1, :products, 1.1)
\set customer random(1, :customers)
BEGIN;
SELECT price FROM shop.products WHERE id = :product;
INSERT INTO shop.page_views (customer_id, product_id) VALUES (:customer, :product);
INSERT INTO shop.carts (customer_id, product_id) VALUES (:customer, :product)
  ON CONFLICT (customer_id) DO UPDATE
  SET product_id = excluded.product_id, quantity = 1, changed_at = excluded.changed_at;
END;
