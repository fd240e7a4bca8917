-- The look-up by subdomain.
CREATE INDEX IF NOT EXISTS usher_stores_subdomain_canonical ON stores (lower(subdomain));
