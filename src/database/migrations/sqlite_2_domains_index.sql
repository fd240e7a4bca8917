-- The look-up by custom domain.
CREATE INDEX IF NOT EXISTS usher_store_domains_canonical ON store_domains (lower(rtrim(domain, '.')));
