-- Two stores, the domains their owners brought along, and what they sell; running it again changes nothing.

INSERT INTO stores (subdomain, name, is_active)
VALUES ('store1', 'Shop Alpha', true), ('store2', 'Shop Beta', true)
ON CONFLICT (subdomain) DO NOTHING;

INSERT INTO store_domains (store_id, domain, is_primary, is_active, is_verified, verification_token)
SELECT stores.id, example.domain, example.is_primary, true, true, md5(random()::text)
FROM (VALUES ('store1', 'customdomain1.com', true),
             ('store1', 'shop.alpha.com', false),
             ('store2', 'customdomain2.com', true)) AS example (subdomain, domain, is_primary)
JOIN stores USING (subdomain)
ON CONFLICT (domain) DO NOTHING;

INSERT INTO products (store_id, name, price)
SELECT stores.id, example.name, example.price
FROM (VALUES ('store1', 'Product A', 19.90),
             ('store1', 'Product B', 5.00),
             ('store2', 'Product C', 42.00)) AS example (subdomain, name, price)
JOIN stores USING (subdomain)
WHERE NOT EXISTS (SELECT FROM products WHERE store_id = stores.id AND products.name = example.name)
ORDER BY example.name;
