-- Triggers on one table, by statement, so that a bulk edit is told once. They compare what routing reads and nothing else,
-- and never make the app's statement fail.
DO $migration$
DECLARE
    watched constant regclass := to_regclass({table});
    wanted constant text[] := {columns};
    keys constant jsonb := {keys};
    tell text;
    columns text;
    casts text;
    lines text;
    body text;
    event record;
BEGIN
    IF watched IS NULL THEN
        RAISE EXCEPTION 'there is no table %', {table};
    END IF;
    IF (SELECT relkind FROM pg_class WHERE oid = watched) NOT IN ('r', 'p') THEN
        RAISE WARNING '% is no table: edits of it are not told', watched;
        RETURN;
    END IF;
    SELECT format('usher.%I', left(format('tell_%s_%s', nspname, relname), 63)) INTO STRICT tell
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = watched;
    SELECT string_agg(format('%I', attname), ', ' ORDER BY attnum),
           string_agg(format('%I::text', attname), ', ' ORDER BY attnum) INTO STRICT columns, casts
    FROM pg_attribute WHERE attrelid = watched AND attnum > 0 AND NOT attisdropped AND attname = ANY (wanted);
    SELECT coalesce(string_agg(format('(%L || %s)', kind || ' ', CASE kind
               WHEN 'tenant' THEN format('%I', name)
               WHEN 'label' THEN format('lower(%I)', name)
               ELSE format('lower(rtrim(%I, ''.''))', name)
           END), ', '), '(''everything'')') INTO lines
    FROM jsonb_each_text(keys) AS key (kind, name)
    JOIN pg_attribute ON attrelid = watched AND attname = name AND NOT attisdropped;
    lines := format('SELECT array_agg(line) FROM (SELECT DISTINCT line FROM (%%s) AS differing (%s),
            LATERAL (VALUES %s) AS named (line) WHERE line IS NOT NULL LIMIT 51) AS few', columns, lines);
    body := format($body$
DECLARE
    lines text[];
BEGIN
    IF TG_OP = 'INSERT' THEN
        lines := (%s);
    ELSIF TG_OP = 'DELETE' THEN
        lines := (%s);
    ELSIF TG_OP = 'UPDATE' THEN
        lines := (%s);
    ELSE
        lines := ARRAY['everything'];
    END IF;
    IF lines IS NOT NULL THEN
        PERFORM usher.tell(lines);
    END IF;
    RETURN NULL;
EXCEPTION WHEN OTHERS THEN
    BEGIN
        PERFORM usher.tell(ARRAY['everything']);
    EXCEPTION WHEN OTHERS THEN
        IF pg_notification_queue_usage() < 0.5 THEN
            PERFORM pg_notify('usher_changes', 'everything');
        END IF;
    END;
    RETURN NULL;
END
$body$,
        format(lines, format('SELECT %s FROM new_rows', casts)),
        format(lines, format('SELECT %s FROM old_rows', casts)),
        format(lines, format('SELECT %s FROM (SELECT %s, 1 FROM new_rows UNION ALL SELECT %2$s, -1 FROM old_rows)
                AS versions (%1$s, side) GROUP BY %1$s HAVING sum(side) <> 0', columns, casts)));
    IF body IS DISTINCT FROM (SELECT prosrc FROM pg_proc WHERE oid = to_regprocedure(tell || '()')) THEN
        EXECUTE format('CREATE OR REPLACE FUNCTION %s() RETURNS trigger LANGUAGE plpgsql
            SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS %L', tell, body);
    END IF;
    FOR event IN SELECT * FROM (VALUES
        ('insert', 'REFERENCING NEW TABLE AS new_rows'),
        ('update', 'REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows'),
        ('delete', 'REFERENCING OLD TABLE AS old_rows'),
        ('truncate', '')) AS events (name, tables)
    LOOP
        IF NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = watched AND tgname = 'usher_' || event.name) THEN
            EXECUTE format('CREATE TRIGGER usher_%s AFTER %1$s ON %s %s FOR EACH STATEMENT EXECUTE FUNCTION %s()',
                event.name, watched, event.tables, tell);
        END IF;
        -- Also where a bulk load has switched triggers off for its session (session_replication_role).
        IF NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = watched AND tgname = 'usher_' || event.name AND tgenabled = 'A')
        THEN
            EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER usher_%s', watched, event.name);
        END IF;
    END LOOP;
END
$migration$;
