-- The array itself, or if it has one value, an array of so many of it.
CREATE FUNCTION spread(items anyarray, item_count integer) RETURNS anyarray LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN item_count > 1 AND cardinality(items) = 1 THEN array_fill(items[1], ARRAY[item_count]) ELSE items END
$$;

-- Accept commands, in the order of the arrays, as `append_judged` answers them. An array of one value holds for all items.
-- Without groups each item stands alone; without costs nobody pays.
-- Nearly every call is clear: nothing in it is known or refused, it has no batch and asks for no entity id. Then its
-- numbers only count up, and what `append_judged` says of its world beside each answer is not needed. All others it judges.
CREATE FUNCTION append_commands(
    groups integer[], world_ids uuid[], event_ids uuid[], types text[], schema_versions integer[],
    due_ticks bigint[], priorities integer[], actor_ids uuid[], payloads text[], batches bytea[],
    entity_counts bigint[], entity_ids bigint[], costs bigint[], expected_version bigint
) RETURNS TABLE (
    ordinal bigint, status text, "position" bigint, version bigint, tick bigint, first_entity_id bigint,
    head_version bigint, next_entity_id bigint, used bigint, allowed bigint
) LANGUAGE plpgsql
-- Without the first line PostgreSQL would plan calls of few commands anew each time, which takes longer than to run them.
-- The others are those of `append_judged`, for its reasons; all of them hold for what is called from here as well.
SET plan_cache_mode TO force_generic_plan
SET enable_seqscan TO off
SET enable_hashjoin TO off
SET enable_mergejoin TO off
AS $$
DECLARE
    moment timestamptz;
    moment_text text;
    today text;
    refused record;
    start bigint;
    item_count CONSTANT integer := cardinality(event_ids);
    is_bare CONSTANT boolean := batches[1] IS NULL AND cardinality(batches) = 1
        AND entity_ids[1] IS NULL AND cardinality(entity_ids) = 1;
    ticks bigint[];
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
        RETURNING e.position - start, 'accepted', e.position, e.version, e.tick, e.first_entity_id,
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
    RETURN QUERY SELECT * FROM append_judged(groups, world_ids, event_ids, types, schema_versions, due_ticks, priorities,
        actor_ids, payloads, batches, entity_counts, entity_ids, costs, expected_version);
END $$;
