INSERT INTO stores (id, subdomain, name, is_active) VALUES
  (1, 'store1', 'Shop Alpha', TRUE),
  (2, 'store2', 'Shop Beta', TRUE)
ON CONFLICT DO NOTHING;

INSERT INTO store_domains (id, store_id, domain, is_primary, is_active, is_verified, verification_token) VALUES
  (1, 1, 'customdomain1.com', TRUE, TRUE, TRUE, 'demo-1'),
  (2, 1, 'shop.alpha.com', FALSE, TRUE, TRUE, 'demo-2'),
  (3, 2, 'customdomain2.com', TRUE, TRUE, TRUE, 'demo-3')
ON CONFLICT DO NOTHING;
