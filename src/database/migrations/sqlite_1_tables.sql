CREATE TABLE IF NOT EXISTS stores (
    id INTEGER PRIMARY KEY,
    subdomain TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    is_active BOOLEAN NOT NULL DEFAULT TRUE,
    created_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
);
-- store_id has no type of its own: whatever key the app's own stores have is kept as it is.
CREATE TABLE IF NOT EXISTS store_domains (
    id INTEGER PRIMARY KEY,
    store_id NOT NULL REFERENCES stores (id),
    domain TEXT NOT NULL UNIQUE,
    is_primary BOOLEAN NOT NULL DEFAULT FALSE,
    is_active BOOLEAN NOT NULL DEFAULT TRUE,
    is_verified BOOLEAN NOT NULL DEFAULT FALSE,
    verification_token TEXT,
    created_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
);
