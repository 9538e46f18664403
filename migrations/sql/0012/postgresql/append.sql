-- The hash of one log row; archetype.log.hashes.event_digest computes the same. `recorded_at` is spelled already: the rows
-- of a flush have it in common.
CREATE FUNCTION event_digest(
    "position" bigint, world_id uuid, version bigint, event_id uuid, kind text, type text,
    schema_version integer, due_tick bigint, tick bigint, priority integer, actor_id uuid, cause_id uuid,
    first_entity_id bigint, recorded_at text, batch bytea, payload text
) RETURNS bytea LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT sha256(convert_to(concat(
        E'event:1\n', "position", E'\n', world_id, E'\n', version, E'\n', event_id, E'\n', kind, E'\n', type, E'\n',
        schema_version, E'\n', due_tick, E'\n', tick, E'\n', priority, E'\n', actor_id, E'\n', cause_id, E'\n',
        first_entity_id, E'\n', recorded_at, E'\n', encode(sha256(batch), 'hex'), E'\n', payload), 'UTF8'))
$$;

-- A time as it is hashed and as SQLite stores it.
CREATE FUNCTION iso_utc(moment timestamptz) RETURNS text LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT to_char(moment AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
$$;

-- For auditors: SELECT position FROM events WHERE hash <> event_hash(events);
CREATE FUNCTION event_hash(event events) RETURNS bytea LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT event_digest(event.position, event.world_id, event.version, event.event_id, event.kind, event.type,
        event.schema_version, event.due_tick, event.tick, event.priority, event.actor_id, event.cause_id,
        event.first_entity_id, iso_utc(event.recorded_at), event.batch, event.payload)
$$;

-- Accept commands, in the order of the arrays. Items of one group stand or fall together. With
-- expected_version the call must hold one group only; so it must where entity_ids are given.
-- The answer has one row per item: accepted, duplicate, conflict, version_conflict, entity_id_taken,
-- archived, unknown_world, tick_quota or token_budget (with what was used up of what was allowed), or aborted (a
-- neighbour of its group was refused). Costs are NULL where no item is an actor's: then nothing is looked up.
-- Everything is decided on narrow columns: what else a row holds is compared where its id is found, and copied once.
CREATE FUNCTION append_commands(
    groups integer[], world_ids uuid[], event_ids uuid[], types text[], schema_versions integer[],
    due_ticks bigint[], priorities integer[], actor_ids uuid[], payloads text[], batches bytea[],
    entity_counts bigint[], entity_ids bigint[], costs bigint[], expected_version bigint
) RETURNS TABLE (
    ordinal bigint, status text, "position" bigint, version bigint, tick bigint, first_entity_id bigint,
    head_version bigint, next_entity_id bigint, used bigint, allowed bigint
) LANGUAGE plpgsql
-- The plan is made once a connection, perhaps while the log is empty, and must do when it is not: every look-up
-- goes through an index, whatever the statistics said that day.
SET enable_seqscan TO off
SET enable_hashjoin TO off
SET enable_mergejoin TO off
AS $$
DECLARE
    statuses CONSTANT text[] := ARRAY['accepted', 'duplicate', 'conflict', 'version_conflict', 'entity_id_taken',
        'archived', 'unknown_world', 'tick_quota', 'token_budget', 'aborted'];
    moment timestamptz;
    moment_text text;
    today text;
    refused record;
    start bigint;
    fresh_count bigint;
    codes integer[];
    positions bigint[];
    versions bigint[];
    ticks bigint[];
    first_ids bigint[];
    heads bigint[];
    free_ids bigint[];
BEGIN
    PERFORM lock_log();
    moment := clock_timestamp();
    moment_text := iso_utc(moment);
    today := left(moment_text, 10);
    refused := quota_refusals(today, groups, world_ids, event_ids, due_ticks, actor_ids, costs);
    SELECT l.position INTO start FROM log_head l WHERE l.id = 1;
    WITH seen AS (
        SELECT i.o, i.grp, i.world_id, i.due_tick, i.entity_count, i.entity_id, w.head_version AS head, w.open_tick,
            w.next_entity_id AS next_id, e.position AS old_position, e.version AS old_version,
            e.tick AS old_tick, e.first_entity_id AS old_entity_id,
            CASE
                WHEN w.world_id IS NULL THEN 7
                WHEN e.position IS NOT NULL AND e.type = types[i.o] AND e.payload = payloads[i.o]
                    AND e.due_tick = i.due_tick AND e.priority = priorities[i.o]
                    AND e.batch IS NOT DISTINCT FROM batches[i.o] THEN 2
                WHEN e.position IS NOT NULL THEN 3
                WHEN w.archived_at IS NOT NULL THEN 6
                WHEN w.head_version <> expected_version THEN 4
                ELSE coalesce(refused.codes[i.grp + 1] + 7, 1)
            END AS verdict
        FROM unnest(groups, world_ids, event_ids, due_ticks, entity_counts, entity_ids) WITH ORDINALITY
            AS i(grp, world_id, event_id, due_tick, entity_count, entity_id, o)
        LEFT JOIN LATERAL (SELECT * FROM worlds x WHERE x.world_id = i.world_id LIMIT 1) w ON true
        LEFT JOIN LATERAL (
            SELECT * FROM events x WHERE x.world_id = i.world_id AND x.event_id = i.event_id LIMIT 1
        ) e ON true
    ), counted AS (
        SELECT s.*, coalesce(sum(s.entity_count) OVER (
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
        SELECT n.*, CASE WHEN n.verdict = 1 AND n.entity_id < n.free_id THEN 5 ELSE n.verdict END AS code
        FROM numbered n
    ), settled AS (
        SELECT j.*, CASE
                WHEN j.code = 1 AND j.grp IN (SELECT k.grp FROM judged k WHERE k.code > 2) THEN 10
                ELSE j.code
            END AS final
        FROM judged j
    ), fresh AS (
        -- Numbered again without what was refused: a refused group must leave no gap in the entity ids.
        SELECT s.*, row_number() OVER (ORDER BY s.o) AS log_offset, row_number() OVER earlier AS world_offset,
            coalesce(s.entity_id, CASE WHEN s.entity_count > 0 THEN
                coalesce(sum(s.entity_count) OVER earlier, 0)::bigint + greatest(s.next_id,
                    max(s.entity_id + 1 - s.ids_before) OVER earlier) END) AS first_id
        FROM settled s WHERE s.final = 1
        WINDOW earlier AS (PARTITION BY s.world_id ORDER BY s.o ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
    ), answers AS (
        SELECT f.o, f.final, start + f.log_offset AS at, f.head + f.world_offset AS in_world,
            greatest(f.due_tick, f.open_tick) AS in_tick, f.first_id, f.head, f.free_id
        FROM fresh f
        UNION ALL
        SELECT s.o, s.final, s.old_position, s.old_version, s.old_tick, s.old_entity_id, s.head, s.free_id
        FROM settled s WHERE s.final <> 1
    )
    SELECT count(*) FILTER (WHERE a.final = 1), array_agg(a.final ORDER BY a.o), array_agg(a.at ORDER BY a.o),
        array_agg(a.in_world ORDER BY a.o), array_agg(a.in_tick ORDER BY a.o), array_agg(a.first_id ORDER BY a.o),
        array_agg(a.head ORDER BY a.o), array_agg(a.free_id ORDER BY a.o)
    INTO fresh_count, codes, positions, versions, ticks, first_ids, heads, free_ids
    FROM answers a;
    IF fresh_count > 0 THEN
        INSERT INTO events (position, world_id, version, event_id, kind, type, schema_version, due_tick, tick,
            priority, actor_id, cause_id, first_entity_id, payload, batch, recorded_at, hash)
        SELECT r.at, r.world_id, r.in_world, r.event_id, 'command', r.type, r.schema_version, r.due_tick, r.in_tick,
            r.priority, r.actor_id, NULL, r.first_id, r.payload, r.batch, moment,
            event_digest(r.at, r.world_id, r.in_world, r.event_id, 'command', r.type, r.schema_version, r.due_tick,
                r.in_tick, r.priority, r.actor_id, NULL, r.first_id, moment_text, r.batch, r.payload)
        FROM unnest(codes, positions, world_ids, versions, event_ids, types, schema_versions, due_ticks, ticks,
            priorities, actor_ids, first_ids, payloads, batches) AS r(
            code, at, world_id, in_world, event_id, type, schema_version, due_tick, in_tick,
            priority, actor_id, first_id, payload, batch)
        WHERE r.code = 1;
        UPDATE log_head l SET position = start + fresh_count WHERE l.id = 1;
        UPDATE worlds w SET head_version = f.in_world, next_entity_id = greatest(w.next_entity_id, f.next_id)
        FROM (
            SELECT r.world_id, max(r.in_world) AS in_world, max(r.first_id + greatest(r.entity_count, 1)) AS next_id
            FROM unnest(codes, world_ids, versions, first_ids, entity_counts) AS r(
                code, world_id, in_world, first_id, entity_count)
            WHERE r.code = 1 GROUP BY r.world_id
        ) f WHERE w.world_id = f.world_id;
        IF costs IS NOT NULL THEN
            PERFORM charge_commands(today, codes, world_ids, ticks, actor_ids, costs);
        END IF;
    END IF;
    RETURN QUERY
    SELECT r.o, statuses[r.code], r.at, r.in_world, r.in_tick, r.first_id, r.head, r.free_id,
        CASE WHEN r.code <> 1 THEN refused.used[groups[r.o] + 1] END,
        CASE WHEN r.code <> 1 THEN refused.allowed[groups[r.o] + 1] END
    FROM unnest(codes, positions, versions, ticks, first_ids, heads, free_ids) WITH ORDINALITY AS r(
        code, at, in_world, in_tick, first_id, head, free_id, o);
END $$;

-- Count what was accepted (code 1) of actors, and forget ticks that are committed: they take no more commands, so nobody
-- asks again how many they had.
CREATE FUNCTION charge_commands(
    today text, codes integer[], world_ids uuid[], ticks bigint[], actor_ids uuid[], costs bigint[]
) RETURNS void LANGUAGE plpgsql
SET enable_seqscan TO off
SET enable_hashjoin TO off
SET enable_mergejoin TO off
AS $$
BEGIN
    WITH charged AS (
        SELECT r.actor_id, r.world_id, r.tick, count(*) AS commands, sum(r.cost) AS tokens
        FROM unnest(codes, world_ids, ticks, actor_ids, costs) AS r(code, world_id, tick, actor_id, cost)
        WHERE r.code = 1 AND r.cost > 0 GROUP BY r.actor_id, r.world_id, r.tick
    ), forgotten AS (
        DELETE FROM tick_usage u USING (SELECT DISTINCT c.actor_id, c.world_id FROM charged c) c, worlds w
        WHERE u.actor_id = c.actor_id AND u.world_id = c.world_id AND w.world_id = c.world_id
            AND u.tick <= w.committed_tick
    ), in_ticks AS (
        INSERT INTO tick_usage AS u (actor_id, world_id, tick, commands)
        SELECT c.actor_id, c.world_id, c.tick, c.commands FROM charged c
        ON CONFLICT ON CONSTRAINT tick_usage_pkey DO UPDATE SET commands = u.commands + excluded.commands
    )
    INSERT INTO daily_usage AS u (actor_id, day, commands, tokens)
    SELECT c.actor_id, today, sum(c.commands), sum(c.tokens) FROM charged c GROUP BY c.actor_id
    ON CONFLICT ON CONSTRAINT daily_usage_pkey DO UPDATE
    SET commands = u.commands + excluded.commands, tokens = u.tokens + excluded.tokens;
END $$;
