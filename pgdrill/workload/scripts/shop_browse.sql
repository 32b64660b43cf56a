-- A visit: a product page, what else the category offers, the customer's last orders, one order.
-- Few products get most of the visits; customers come evenly.
\set product random_zipfian(1, :products, 1.1)
\set customer random(1, :customers)
\set order_id random(1, :orders)
SELECT p.name, p.price, p.attributes, c.name AS category, s.name AS supplier, r.stars, r.reviews
  FROM shop.products p
  JOIN shop.categories c ON c.id = p.category_id
  JOIN shop.suppliers s ON s.id = p.supplier_id
  CROSS JOIN LATERAL (SELECT avg(stars) AS stars, count(*) AS reviews
                        FROM shop.reviews WHERE product_id = p.id) r
 WHERE p.id = :product;
SELECT other.id, other.name, other.price
  FROM shop.products p
  JOIN shop.products other ON other.category_id = p.category_id AND NOT other.discontinued
 WHERE p.id = :product
 LIMIT 10;
SELECT o.id, o.status, o.placed_at, o.total, ci.name AS city
  FROM shop.orders o
  JOIN shop.addresses a ON a.id = o.address_id
  JOIN shop.cities ci ON ci.id = a.city_id
 WHERE o.customer_id = :customer
 ORDER BY o.placed_at DESC
 LIMIT 5;
SELECT i.line, p.name, i.quantity, i.unit_price, s.carrier, s.delivered_at
  FROM shop.order_items i
  JOIN shop.products p ON p.id = i.product_id
  LEFT JOIN shop.shipments s ON s.order_id = i.order_id
 WHERE i.order_id = :order_id
 ORDER BY i.line;
