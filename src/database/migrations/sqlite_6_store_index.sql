CREATE INDEX IF NOT EXISTS usher_store_domains_store ON store_domains (store_id);
