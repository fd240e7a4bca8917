-- What the triggers on the app's tables do with what they found out: one notice per statement, lines of a kind and a name.
DO $migration$
DECLARE
    body constant text := $body$
DECLARE
    -- How many names this transaction has told; a savepoint that is rolled back takes its notices and its count with it.
    told integer := coalesce(nullif(current_setting('usher.told', true), ''), '0');
    notice text := array_to_string(lines, E'\n');
BEGIN
    IF told > 50 THEN
        RETURN; -- "everything" is on its way already
    END IF;
    told := told + cardinality(lines);
    IF told > 50 OR notice = 'everything' OR octet_length(notice) > 7000 THEN
        told := 51;
        notice := 'everything';
    END IF;
    PERFORM set_config('usher.told', told::text, true);
    IF to_regclass('usher.changes') IS NOT NULL THEN
        INSERT INTO usher.changes (notice) VALUES (notice);
    END IF;
    -- A full queue would make the commit fail. Whoever listens looks at it as well, and knows that nothing is told; and so it is where
    -- nobody listens, and transactions that have notified could not be prepared.
    IF pg_notification_queue_usage() < 0.5 AND current_setting('usher.notify', true) IS DISTINCT FROM 'off' THEN
        PERFORM pg_notify('usher_changes', notice);
    END IF;
END
$body$;
BEGIN
    IF body IS DISTINCT FROM (SELECT prosrc FROM pg_proc WHERE oid = to_regprocedure('usher.tell(text[])')) THEN
        EXECUTE format('CREATE OR REPLACE FUNCTION usher.tell(lines text[]) RETURNS void LANGUAGE plpgsql AS %L', body);
    END IF;
END
$migration$;
