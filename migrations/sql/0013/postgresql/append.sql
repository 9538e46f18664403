-- The array itself, or if it has one value, an array of so many of it.
CREATE FUNCTION spread(items anyarray, item_count integer) RETURNS anyarray LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN item_count > 1 AND cardinality(items) = 1 THEN array_fill(items[1], ARRAY[item_count]) ELSE items END
$$;

-- Accept commands, in the order of the arrays. Items of one group stand or fall together. With
-- expected_version the call must hold one group only; so it must where entity_ids are given.
-- The answer has one row per item: accepted, duplicate, conflict, version_conflict, entity_id_taken,
-- archived, unknown_world, tick_quota or token_budget (with what was used up of what was allowed), or aborted (a
-- neighbour of its group was refused). An item that is not accepted has its world's version and free entity id beside it.
-- An array of one value holds for all items. Without groups each item stands alone; without costs nobody pays.
-- Nearly every call is plain: nothing in it is known or refused, or asks for an id. Then numbers only count up. For any
-- other, everything is decided on narrow columns: what else a row holds is compared where its id is found, and copied once.
CREATE FUNCTION append_commands(
    groups integer[], world_ids uuid[], event_ids uuid[], types text[], schema_versions integer[],
    due_ticks bigint[], priorities integer[], actor_ids uuid[], payloads text[], batches bytea[],
    entity_counts bigint[], entity_ids bigint[], costs bigint[], expected_version bigint
) RETURNS TABLE (
    ordinal bigint, status text, "position" bigint, version bigint, tick bigint, first_entity_id bigint,
    head_version bigint, next_entity_id bigint, used bigint, allowed bigint
) LANGUAGE plpgsql
-- The plan is made once a connection, perhaps while the log is empty, and must do when it is not: every look-up
-- goes through an index, whatever the statistics said that day. Without the first line PostgreSQL would plan calls of few
-- commands anew each time, which takes longer than to run them.
SET plan_cache_mode TO force_generic_plan
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
    item_count CONSTANT integer := cardinality(event_ids);
    is_bare CONSTANT boolean := batches[1] IS NULL AND cardinality(batches) = 1
        AND entity_ids[1] IS NULL AND cardinality(entity_ids) = 1;
    fresh_count bigint;
    codes integer[];
    positions bigint[];
    versions bigint[];
    ticks bigint[];
    first_ids bigint[];
    heads bigint[];
    free_ids bigint[];
BEGIN
    groups := coalesce(spread(groups, item_count), ARRAY(SELECT generate_series(0, item_count - 1)));
    world_ids := spread(world_ids, item_count);
    types := spread(types, item_count);
    schema_versions := spread(schema_versions, item_count);
    due_ticks := spread(due_ticks, item_count);
    priorities := spread(priorities, item_count);
    actor_ids := spread(actor_ids, item_count);
    batches := spread(batches, item_count);
    entity_counts := spread(entity_counts, item_count);
    entity_ids := spread(entity_ids, item_count);
    costs := spread(costs, item_count);
    PERFORM lock_log();
    moment := clock_timestamp();
    moment_text := iso_utc(moment);
    today := left(moment_text, 10);
    refused := quota_refusals(today, groups, world_ids, event_ids, due_ticks, actor_ids, costs);
    SELECT l.position INTO start FROM log_head l WHERE l.id = 1;
    IF refused.codes IS NULL AND is_bare AND NOT EXISTS (
        SELECT FROM unnest(world_ids, event_ids) AS i(world_id, event_id)
        JOIN events e ON e.world_id = i.world_id AND e.event_id = i.event_id
    ) AND NOT EXISTS (
        SELECT FROM (SELECT DISTINCT unnest(world_ids) AS world_id) i
        LEFT JOIN worlds w ON w.world_id = i.world_id AND w.archived_at IS NULL
            AND w.head_version = coalesce(expected_version, w.head_version)
        WHERE w.world_id IS NULL
    ) THEN
        RETURN QUERY
        INSERT INTO events AS e (position, world_id, version, event_id, kind, type, schema_version, due_tick, tick,
            priority, actor_id, cause_id, first_entity_id, payload, batch, recorded_at, hash)
        SELECT n.at, n.world_id, n.in_world, n.event_id, 'command', n.type, n.schema_version, n.due_tick, n.in_tick,
            n.priority, n.actor_id, NULL, n.first_id, n.payload, NULL, moment,
            event_digest(n.at, n.world_id, n.in_world, n.event_id, 'command', n.type, n.schema_version, n.due_tick,
                n.in_tick, n.priority, n.actor_id, NULL, n.first_id, moment_text, NULL, n.payload)
        FROM (
            SELECT i.*, start + i.o AS at, w.head_version + row_number() OVER so_far AS in_world,
                greatest(i.due_tick, w.open_tick) AS in_tick, CASE WHEN i.entity_count > 0 THEN
                    w.next_entity_id + sum(i.entity_count::integer) OVER so_far - i.entity_count END AS first_id
            FROM unnest(world_ids, event_ids, types, schema_versions, due_ticks, priorities, actor_ids, payloads,
                entity_counts) WITH ORDINALITY AS i(world_id, event_id, type, schema_version, due_tick, priority,
                actor_id, payload, entity_count, o)
            JOIN worlds w ON w.world_id = i.world_id
            WINDOW so_far AS (PARTITION BY i.world_id ORDER BY i.o ROWS UNBOUNDED PRECEDING)
        ) n
        RETURNING e.position - start, statuses[1], e.position, e.version, e.tick, e.first_entity_id,
            NULL::bigint, NULL::bigint, NULL::bigint, NULL::bigint;
        UPDATE log_head l SET position = start + item_count WHERE l.id = 1;
        IF costs IS NOT NULL THEN
            ticks := ARRAY(
                SELECT greatest(i.due_tick, w.open_tick)
                FROM unnest(world_ids, due_ticks) WITH ORDINALITY AS i(world_id, due_tick, o)
                JOIN worlds w ON w.world_id = i.world_id ORDER BY i.o);
            PERFORM charge_commands(today, array_fill(1, ARRAY[item_count]), world_ids, ticks, actor_ids, costs);
        END IF;
        UPDATE worlds w SET head_version = w.head_version + i.commands, next_entity_id = w.next_entity_id + i.entities
        FROM (
            SELECT i.world_id, count(*) AS commands, sum(i.entity_count::integer) AS entities
            FROM unnest(world_ids, entity_counts) AS i(world_id, entity_count) GROUP BY i.world_id
        ) i
        WHERE w.world_id = i.world_id;
        RETURN;
    END IF;
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
    SELECT r.o, statuses[r.code], r.at, r.in_world, r.in_tick, r.first_id,
        CASE WHEN r.code <> 1 THEN r.head END, CASE WHEN r.code <> 1 THEN r.free_id END,
        CASE WHEN r.code <> 1 THEN refused.used[groups[r.o] + 1] END,
        CASE WHEN r.code <> 1 THEN refused.allowed[groups[r.o] + 1] END
    FROM unnest(codes, positions, versions, ticks, first_ids, heads, free_ids) WITH ORDINALITY AS r(
        code, at, in_world, in_tick, first_id, head, free_id, o);
END $$;
