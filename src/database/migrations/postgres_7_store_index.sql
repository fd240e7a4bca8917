-- The domains of a store, among which is its primary one.
CREATE INDEX CONCURRENTLY IF NOT EXISTS usher_store_domains_store ON store_domains (store_id);
