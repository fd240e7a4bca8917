CREATE TABLE IF NOT EXISTS usher_domain_claims (
    name TEXT NOT NULL,
    token TEXT NOT NULL,
    row_id TEXT NOT NULL,
    state TEXT NOT NULL,
    since INTEGER NOT NULL,
    looks INTEGER NOT NULL,
    fence INTEGER NOT NULL,
    holder TEXT NOT NULL,
    leased_until INTEGER NOT NULL,
    looked_at INTEGER NOT NULL,
    due_at INTEGER NOT NULL,
    finding TEXT,
    PRIMARY KEY (name, token)
);
CREATE INDEX IF NOT EXISTS usher_domain_claims_due ON usher_domain_claims (due_at);
CREATE INDEX IF NOT EXISTS usher_domain_claims_row ON usher_domain_claims (row_id);
CREATE TABLE IF NOT EXISTS usher_self_check (
    id INTEGER PRIMARY KEY,
    secret TEXT NOT NULL
);
