-- The hash of one log row; archetype.log.hashes.event_hash computes the same.
CREATE FUNCTION event_digest(
    "position" bigint, world_id uuid, version bigint, event_id uuid, kind text, type text,
    schema_version integer, due_tick bigint, tick bigint, priority integer, actor_id uuid, cause_id uuid,
    first_entity_id bigint, recorded_at timestamptz, batch bytea, payload text
) RETURNS bytea LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT sha256(convert_to(
        'event:1' || chr(10) || "position" || chr(10) || world_id || chr(10) || version || chr(10)
        || event_id || chr(10) || kind || chr(10) || type || chr(10) || schema_version || chr(10)
        || due_tick || chr(10) || tick || chr(10) || priority || chr(10)
        || coalesce(actor_id::text, '') || chr(10) || coalesce(cause_id::text, '') || chr(10)
        || coalesce(first_entity_id::text, '') || chr(10)
        || to_char(recorded_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') || chr(10)
        || coalesce(encode(sha256(batch), 'hex'), '') || chr(10) || payload, 'UTF8'))
$$;

-- For auditors: SELECT position FROM events WHERE hash <> event_hash(events);
CREATE FUNCTION event_hash(event events) RETURNS bytea LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT event_digest(event.position, event.world_id, event.version, event.event_id, event.kind, event.type,
        event.schema_version, event.due_tick, event.tick, event.priority, event.actor_id, event.cause_id,
        event.first_entity_id, event.recorded_at, event.batch, event.payload)
$$;

-- Every writer of the log takes this lock first: positions, versions and heads are decided under it, and it
-- is held until the commit is visible, so readers meet positions in order and without a hole.
CREATE FUNCTION lock_log() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'the log is written in READ COMMITTED only: any other level would read heads from before the lock';
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended('archetype-log', 0));
END $$;

-- Accept commands, in the order of the arrays. Items of one group stand or fall together. With
-- expected_version the call must hold one group only; so it must where entity_ids are given.
-- The answer has one row per item: accepted, duplicate, conflict, version_conflict, entity_id_taken,
-- archived, unknown_world, or aborted (a neighbour of its group was refused).
CREATE FUNCTION append_commands(
    groups integer[], world_ids uuid[], event_ids uuid[], types text[], schema_versions integer[],
    due_ticks bigint[], priorities integer[], actor_ids uuid[], payloads text[], batches bytea[],
    entity_counts bigint[], entity_ids bigint[], expected_version bigint
) RETURNS TABLE (
    ordinal bigint, status text, "position" bigint, version bigint, tick bigint, first_entity_id bigint,
    head_version bigint, next_entity_id bigint
) LANGUAGE plpgsql
-- The plan is made once a connection, perhaps while the log is empty, and must do when it is not: every look-up
-- goes through an index, whatever the statistics said that day.
SET enable_seqscan TO off
SET enable_hashjoin TO off
SET enable_mergejoin TO off
AS $$
DECLARE
    moment timestamptz;
BEGIN
    PERFORM lock_log();
    moment := clock_timestamp();
    RETURN QUERY
    WITH items AS (
        SELECT * FROM unnest(groups, world_ids, event_ids, types, schema_versions, due_ticks, priorities,
            actor_ids, payloads, batches, entity_counts, entity_ids) WITH ORDINALITY AS item(
            grp, world_id, event_id, type, schema_version, due_tick, priority, actor_id, payload, batch,
            entity_count, entity_id, o)
    ), seen AS (
        SELECT i.*, w.head_version AS head, w.open_tick, w.next_entity_id AS next_id,
            e.position AS old_position, e.version AS old_version, e.tick AS old_tick,
            e.first_entity_id AS old_entity_id,
            CASE
                WHEN w.world_id IS NULL THEN 'unknown_world'
                WHEN e.position IS NOT NULL AND e.type = i.type AND e.payload = i.payload
                    AND e.due_tick = i.due_tick AND e.priority = i.priority
                    AND e.batch IS NOT DISTINCT FROM i.batch THEN 'duplicate'
                WHEN e.position IS NOT NULL THEN 'conflict'
                WHEN w.archived_at IS NOT NULL THEN 'archived'
                WHEN w.head_version <> expected_version THEN 'version_conflict'
                ELSE 'accepted'
            END AS verdict
        FROM items i
        LEFT JOIN LATERAL (SELECT * FROM worlds x WHERE x.world_id = i.world_id LIMIT 1) w ON true
        LEFT JOIN LATERAL (
            SELECT * FROM events x WHERE x.world_id = i.world_id AND x.event_id = i.event_id LIMIT 1
        ) e ON true
    ), counted AS (
        SELECT s.*, coalesce(sum(entity_count) OVER (
                PARTITION BY s.world_id, s.verdict ORDER BY s.o ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
            ), 0)::bigint AS ids_before
        FROM seen s
    ), numbered AS (
        -- A given id lifts the next free one above itself: the running maximum carries that on.
        SELECT c.*, c.ids_before + greatest(c.next_id, max(c.entity_id + 1 - c.ids_before) OVER (
                PARTITION BY c.world_id, c.verdict ORDER BY c.o ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
            )) AS free_id
        FROM counted c
    ), judged AS (
        SELECT n.*, CASE WHEN n.verdict = 'accepted' AND n.entity_id < n.free_id THEN 'entity_id_taken'
            ELSE n.verdict END AS status
        FROM numbered n
    ), settled AS (
        SELECT j.*, CASE WHEN j.status = 'accepted' AND bool_or(j.status NOT IN ('accepted', 'duplicate'))
            OVER (PARTITION BY j.grp) THEN 'aborted' ELSE j.status END AS final
        FROM judged j
    ), fresh AS (
        -- Numbered again without what was refused: a refused group must leave no gap in the entity ids.
        SELECT s.*, row_number() OVER (ORDER BY s.o) AS log_offset,
            row_number() OVER (PARTITION BY s.world_id ORDER BY s.o) AS world_offset,
            coalesce(s.entity_id, CASE WHEN s.entity_count > 0 THEN
                coalesce(sum(s.entity_count) OVER earlier, 0)::bigint + greatest(s.next_id,
                    max(s.entity_id + 1 - s.ids_before) OVER earlier) END) AS first_id
        FROM settled s WHERE s.final = 'accepted'
        WINDOW earlier AS (PARTITION BY s.world_id ORDER BY s.o ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
    ), base AS (
        UPDATE log_head l SET position = l.position + (SELECT count(*) FROM fresh) WHERE l.id = 1
        RETURNING l.position - (SELECT count(*) FROM fresh) AS start
    ), heads AS (
        UPDATE worlds w SET head_version = w.head_version + f.fresh_count,
            next_entity_id = greatest(w.next_entity_id, f.next_id)
        FROM (
            SELECT world_id, count(*) AS fresh_count, max(first_id + greatest(entity_count, 1)) AS next_id
            FROM fresh GROUP BY world_id
        ) f WHERE w.world_id = f.world_id
    ), rows AS (
        SELECT f.*, b.start + f.log_offset AS new_position, f.head + f.world_offset AS new_version,
            greatest(f.due_tick, f.open_tick) AS new_tick
        FROM fresh f, base b
    ), inserted AS (
        INSERT INTO events (position, world_id, version, event_id, kind, type, schema_version, due_tick, tick,
            priority, actor_id, cause_id, first_entity_id, payload, batch, recorded_at, hash)
        SELECT r.new_position, r.world_id, r.new_version, r.event_id, 'command', r.type, r.schema_version,
            r.due_tick, r.new_tick, r.priority, r.actor_id, NULL, r.first_id, r.payload, r.batch, moment,
            event_digest(r.new_position, r.world_id, r.new_version, r.event_id, 'command', r.type,
                r.schema_version, r.due_tick, r.new_tick, r.priority, r.actor_id, NULL, r.first_id, moment,
                r.batch, r.payload)
        FROM rows r
    )
    SELECT r.o, r.final, r.new_position, r.new_version, r.new_tick, r.first_id, r.head, r.free_id FROM rows r
    UNION ALL
    SELECT s.o, s.final, s.old_position, s.old_version, s.old_tick, s.old_entity_id, s.head, s.free_id
    FROM settled s WHERE s.final <> 'accepted'
    ORDER BY 1;
END $$;
