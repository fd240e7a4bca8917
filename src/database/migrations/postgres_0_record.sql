-- Usher's own schema, and the record of these steps.
DO $$ BEGIN
    IF to_regnamespace('usher') IS NULL THEN
        CREATE SCHEMA usher;
    END IF;
    IF to_regclass('usher.migrations') IS NULL THEN
        CREATE TABLE usher.migrations (
            version integer PRIMARY KEY,
            applied_at timestamptz NOT NULL DEFAULT now()
        );
    END IF;
END $$;
