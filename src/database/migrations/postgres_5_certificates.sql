DO $$
BEGIN
    IF to_regclass('usher.certificates') IS NULL THEN
        CREATE TABLE usher.certificates (
            -- A host, or *. and the domain below which it is good for one label.
            name text PRIMARY KEY,
            -- PEM, with those that lead to its CA behind it.
            certificate text NOT NULL,
            -- AES-256-GCM in base64, sealed by the key of this id for this name.
            key_id text NOT NULL,
            sealed_key text NOT NULL,
            -- Seconds since 1970; without renew_at nobody asks for the next one.
            expires_at bigint NOT NULL,
            renew_at bigint,
            -- The CA it was asked of, and when to ask that again for the time of renewal (RFC 9773).
            directory text,
            ask_at bigint,
            updated_at timestamptz NOT NULL DEFAULT now()
        );
    END IF;
    IF to_regclass('usher.ticket_keys') IS NULL THEN
        -- One for each half of a day since 1970.
        CREATE TABLE usher.ticket_keys (
            number bigint PRIMARY KEY,
            key_id text NOT NULL,
            sealed_key text NOT NULL
        );
    END IF;
    IF to_regclass('usher.acme_accounts') IS NULL THEN
        CREATE TABLE usher.acme_accounts (
            directory text PRIMARY KEY,
            key_id text NOT NULL,
            sealed_credentials text NOT NULL
        );
    END IF;
    IF to_regclass('usher.acme_orders') IS NULL THEN
        -- The lease of a name, and what became of its orders. Without wanted_since nobody works for it.
        CREATE TABLE usher.acme_orders (
            name text PRIMARY KEY,
            fence bigint NOT NULL,
            holder text NOT NULL,
            leased_until bigint NOT NULL,
            due_at bigint NOT NULL,
            attempts bigint NOT NULL,
            wanted_since bigint,
            directory text,
            order_url text,
            reason text,
            problem text
        );
    END IF;
    IF to_regclass('usher.acme_order_keys') IS NULL THEN
        -- The private key of a certificate that is being ordered, sealed for "order key " and the name.
        CREATE TABLE usher.acme_order_keys (
            name text PRIMARY KEY,
            order_url text NOT NULL,
            key_id text NOT NULL,
            sealed_key text NOT NULL
        );
    END IF;
    IF to_regclass('usher.acme_besides') IS NULL THEN
        -- Names that belong to another one and are not in its certificate, and when they are visited again.
        CREATE TABLE usher.acme_besides (
            name text PRIMARY KEY,
            beside text NOT NULL,
            visit_at bigint NOT NULL
        );
        CREATE INDEX acme_besides_visit_at ON usher.acme_besides (visit_at);
    END IF;
    IF to_regclass('usher.acme_challenges') IS NULL THEN
        CREATE TABLE usher.acme_challenges (
            token text PRIMARY KEY,
            name text NOT NULL,
            answer text NOT NULL,
            begun_at bigint NOT NULL
        );
    END IF;
    IF to_regclass('usher.acme_budgets') IS NULL THEN
        -- What may be asked of a CA within a window of time, as the moment at which nothing of it is used any more, in milliseconds.
        CREATE TABLE usher.acme_budgets (
            budget text PRIMARY KEY,
            free_at bigint NOT NULL
        );
    END IF;
    IF NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'usher.certificates'::regclass AND attname = 'ask_at') THEN
        ALTER TABLE usher.certificates ADD COLUMN directory text, ADD COLUMN ask_at bigint;
        ALTER TABLE usher.acme_orders ADD COLUMN wanted_since bigint, ADD COLUMN directory text, ADD COLUMN reason text;
    END IF;
    IF to_regclass('usher.acme_orders_leased_until') IS NULL THEN
        CREATE INDEX acme_orders_leased_until ON usher.acme_orders (leased_until);
    END IF;
    IF to_regclass('usher.certificates_renew_at') IS NULL THEN
        CREATE INDEX certificates_renew_at ON usher.certificates (renew_at) WHERE renew_at IS NOT NULL;
        CREATE INDEX certificates_ask_at ON usher.certificates (ask_at) WHERE ask_at IS NOT NULL;
        CREATE INDEX certificates_expires_at ON usher.certificates (expires_at);
        CREATE INDEX acme_orders_due_at ON usher.acme_orders (due_at) WHERE wanted_since IS NOT NULL;
        CREATE INDEX acme_orders_reason ON usher.acme_orders (reason) WHERE reason IS NOT NULL;
    END IF;
END
$$;
