-- The look-up by custom domain. CONCURRENTLY: the app goes on writing while a big table is read.
CREATE INDEX CONCURRENTLY IF NOT EXISTS usher_store_domains_canonical ON store_domains (lower(rtrim(domain, '.')));
