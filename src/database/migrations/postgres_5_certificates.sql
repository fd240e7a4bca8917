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
        -- The lease of a name, and what became of its orders.
        CREATE TABLE usher.acme_orders (
            name text PRIMARY KEY,
            fence bigint NOT NULL,
            holder text NOT NULL,
            leased_until bigint NOT NULL,
            due_at bigint NOT NULL,
            attempts bigint NOT NULL,
            order_url text,
            problem text
        );
    END IF;
    IF to_regclass('usher.acme_challenges') IS NULL THEN
        CREATE TABLE usher.acme_challenges (
            token text PRIMARY KEY,
            name text NOT NULL,
            answer text NOT NULL,
            begun_at bigint NOT NULL
        );
    END IF;
END
$$;
