-- The look-up by subdomain.
CREATE INDEX CONCURRENTLY IF NOT EXISTS usher_stores_subdomain_canonical ON stores (lower(subdomain));
