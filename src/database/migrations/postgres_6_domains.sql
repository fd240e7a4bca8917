DO $$
BEGIN
    IF to_regclass('usher.domain_claims') IS NULL THEN
        -- A custom domain together with its token: what is known of who owns it, and the lease of whoever looks.
        CREATE TABLE usher.domain_claims (
            name text NOT NULL,
            token text NOT NULL,
            -- The id in store_domains: a row that names another domain has to be proved anew.
            row_id text NOT NULL,
            -- pending, verified, live, drifting or lost, since these seconds since 1970, for so many looks.
            state text NOT NULL,
            since bigint NOT NULL,
            looks bigint NOT NULL,
            fence bigint NOT NULL,
            holder text NOT NULL,
            leased_until bigint NOT NULL,
            looked_at bigint NOT NULL,
            due_at bigint NOT NULL,
            -- What the last look has shown, in words.
            finding text,
            PRIMARY KEY (name, token)
        );
        CREATE INDEX domain_claims_due ON usher.domain_claims (due_at);
        CREATE INDEX domain_claims_row ON usher.domain_claims (row_id);
    END IF;
    IF to_regclass('usher.self_check') IS NULL THEN
        -- By which instances know each other behind a customer's name.
        CREATE TABLE usher.self_check (
            id bigint PRIMARY KEY,
            secret text NOT NULL
        );
    END IF;
END
$$;
