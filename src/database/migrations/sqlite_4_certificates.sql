CREATE TABLE IF NOT EXISTS usher_certificates (
    name TEXT PRIMARY KEY,
    certificate TEXT NOT NULL,
    key_id TEXT NOT NULL,
    sealed_key TEXT NOT NULL,
    expires_at INTEGER NOT NULL,
    renew_at INTEGER,
    directory TEXT,
    ask_at INTEGER,
    updated_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
);
CREATE TABLE IF NOT EXISTS usher_ticket_keys (
    number INTEGER PRIMARY KEY,
    key_id TEXT NOT NULL,
    sealed_key TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS usher_acme_accounts (
    directory TEXT PRIMARY KEY,
    key_id TEXT NOT NULL,
    sealed_credentials TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS usher_acme_orders (
    name TEXT PRIMARY KEY,
    fence INTEGER NOT NULL,
    holder TEXT NOT NULL,
    leased_until INTEGER NOT NULL,
    due_at INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    wanted_since INTEGER,
    directory TEXT,
    order_url TEXT,
    reason TEXT,
    problem TEXT
);
CREATE TABLE IF NOT EXISTS usher_acme_order_keys (
    name TEXT PRIMARY KEY,
    order_url TEXT NOT NULL,
    key_id TEXT NOT NULL,
    sealed_key TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS usher_acme_besides (
    name TEXT PRIMARY KEY,
    beside TEXT NOT NULL,
    visit_at INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS usher_acme_besides_visit_at ON usher_acme_besides (visit_at);
CREATE TABLE IF NOT EXISTS usher_acme_challenges (
    token TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    answer TEXT NOT NULL,
    begun_at INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS usher_acme_budgets (
    budget TEXT PRIMARY KEY,
    free_at INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS usher_certificates_renew_at ON usher_certificates (renew_at) WHERE renew_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS usher_certificates_ask_at ON usher_certificates (ask_at) WHERE ask_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS usher_certificates_expires_at ON usher_certificates (expires_at);
CREATE INDEX IF NOT EXISTS usher_acme_orders_due_at ON usher_acme_orders (due_at) WHERE wanted_since IS NOT NULL;
CREATE INDEX IF NOT EXISTS usher_acme_orders_leased_until ON usher_acme_orders (leased_until);
CREATE INDEX IF NOT EXISTS usher_acme_orders_reason ON usher_acme_orders (reason) WHERE reason IS NOT NULL;
