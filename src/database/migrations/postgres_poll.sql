-- Where edits are kept for those who ask for them; as long as it exists, the triggers write to it.
BEGIN;
SET LOCAL lock_timeout = '10s';
DO $$ BEGIN
    IF to_regclass('usher.changes') IS NULL THEN
        CREATE TABLE usher.changes (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            transaction xid8 NOT NULL DEFAULT pg_current_xact_id(),
            notice text NOT NULL
        );
        CREATE INDEX changes_transaction ON usher.changes (transaction);
    END IF;
END $$;
COMMIT;
-- Whoever is writing now may have found no table to tell of it: wait for them, one table after the other.
