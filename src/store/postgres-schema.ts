import type { SqlClient } from './postgres.ts'

/** What the statements below make. A newer one is left alone. */
export const schemaVersion = 1

/** How a server and its tables are. */
export interface Installed {
  readonly version: number
  readonly fsync: boolean
  readonly isStandby: boolean
}

/** Looks what is there and makes what is missing; of several that begin at once, one does it. */
export async function install(client: SqlClient, schema: string): Promise<Installed> {
  const { rows } = await client.query(
    `SELECT to_regclass('${schema}.entries') IS NOT NULL AS present, current_setting('fsync') = 'on' AS fsync,
            pg_is_in_recovery() AS standby`,
  )
  const { present, fsync, standby } = rows[0] as { present: boolean; fsync: boolean; standby: boolean }
  if (standby) return { version: schemaVersion, fsync, isStandby: true }
  if (!present) await client.query(statements(schema))
  const version = (await client.query(`SELECT ${schema}.version() AS version`)).rows[0] as { version: number }
  return { version: version.version, fsync, isStandby: false }
}

/**
 * One statement, so that it is all made or nothing, whatever connection it runs on. Values are text, not jsonb: they
 * come back as they went in, member by member.
 */
function statements(schema: string): string {
  return `DO $authkeep$
BEGIN
  PERFORM pg_advisory_xact_lock(hashtextextended('authkeep ${schema}', 0));
  -- Of the tables, not of what this session remembers of them.
  IF EXISTS (SELECT FROM pg_tables WHERE schemaname = '${schema}' AND tablename = 'entries') THEN
    RETURN;
  END IF;
  CREATE SCHEMA IF NOT EXISTS ${schema};
  CREATE SEQUENCE ${schema}.revision;
  CREATE TABLE ${schema}.entries (
    namespace text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    value text NOT NULL,
    revision text NOT NULL,
    PRIMARY KEY (namespace, key)
  );
  CREATE FUNCTION ${schema}.version() RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT ${schemaVersion}';
  CREATE FUNCTION ${schema}.commit(the_namespace text, keys text[], nexts text[], expecteds text[])
  RETURNS TABLE (key text, value text, revision text) LANGUAGE plpgsql AS $body$
  DECLARE
    lock_id bigint;
    n integer;
  BEGIN
    -- Never acknowledged before it is on the disk, whatever the role has set; a stronger setting stays.
    IF current_setting('synchronous_commit') IN ('off', 'local') THEN
      PERFORM set_config('synchronous_commit', 'on', true);
    END IF;
    -- A row that is not there cannot be locked, so the names are; in one order, so that nobody waits in a circle.
    FOR lock_id IN
      SELECT DISTINCT hashtextextended('${schema} ' || the_namespace || E'\\n' || k, 0) AS id
      FROM unnest(keys) k ORDER BY id
    LOOP
      PERFORM pg_advisory_xact_lock(lock_id);
    END LOOP;
    FOR n IN 1 .. coalesce(array_length(keys, 1), 0) LOOP
      SELECT e.value, e.revision INTO value, revision
      FROM ${schema}.entries e WHERE e.namespace = the_namespace AND e.key = keys[n];
      IF revision IS DISTINCT FROM expecteds[n] THEN
        key := keys[n];
        RETURN NEXT;
        RETURN;
      END IF;
    END LOOP;
    FOR n IN 1 .. coalesce(array_length(keys, 1), 0) LOOP
      IF nexts[n] IS NULL THEN
        DELETE FROM ${schema}.entries e WHERE e.namespace = the_namespace AND e.key = keys[n];
      ELSE
        -- A standby that takes over may repeat the sequence: chance does not.
        INSERT INTO ${schema}.entries AS e
        VALUES (the_namespace, keys[n], nexts[n],
                nextval('${schema}.revision') || '.' || left(gen_random_uuid()::text, 8))
        ON CONFLICT ON CONSTRAINT entries_pkey
        DO UPDATE SET value = excluded.value, revision = excluded.revision;
      END IF;
      PERFORM pg_notify('${schema}', md5(the_namespace || E'\\n' || keys[n]));
    END LOOP;
  END
  $body$;
END
$authkeep$`
}
