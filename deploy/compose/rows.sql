-- Two stores and the domains their owners brought along; running it again changes nothing.

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
