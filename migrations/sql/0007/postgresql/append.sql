-- Which groups would take their actors over a quota: by group number + 1 the code (1 tick, 2 day), what was used up
-- before the group, and what is allowed. All three are NULL while nobody comes near a limit. Groups are judged in order: what
-- an earlier one of the same call takes, a later one lacks, and a refused one takes nothing. What would be refused or
-- answered as a duplicate anyway is not counted. Costs of 0 are free. The caller holds the log's lock.
CREATE FUNCTION quota_refusals(
    today text, groups integer[], world_ids uuid[], event_ids uuid[], due_ticks bigint[], actor_ids uuid[],
    costs bigint[], OUT codes smallint[], OUT used bigint[], OUT allowed bigint[]
) LANGUAGE plpgsql
SET enable_seqscan TO off
SET enable_hashjoin TO off
SET enable_mergejoin TO off
AS $$
DECLARE
    share record;
    at integer := 0;
    spent jsonb := '{}';
    pending jsonb := '{}';
    spent_in_tick bigint;
    spent_in_day bigint;
BEGIN
    IF costs IS NULL THEN RETURN; END IF;
    -- Nobody comes near a limit: one look, however many groups there are.
    PERFORM 1 FROM (
        SELECT i.actor_id, i.world_id, count(*) AS commands,
            sum(sum(i.cost)) OVER (PARTITION BY i.actor_id) AS tokens
        FROM unnest(world_ids, actor_ids, costs) AS i(world_id, actor_id, cost)
        WHERE i.cost > 0 GROUP BY i.actor_id, i.world_id
    ) s
    LEFT JOIN quotas q ON q.actor_id = s.actor_id
    WHERE s.commands + coalesce((SELECT max(u.commands) FROM tick_usage u
            WHERE u.actor_id = s.actor_id AND u.world_id = s.world_id), 0)
            > CASE WHEN q.actor_id IS NULL THEN 500 ELSE q.commands_per_tick END
        OR s.tokens + coalesce((SELECT d.tokens FROM daily_usage d
            WHERE d.actor_id = s.actor_id AND d.day = today), 0)
            > CASE WHEN q.actor_id IS NULL THEN 200000 ELSE q.tokens_per_day END
    LIMIT 1;
    IF NOT FOUND THEN RETURN; END IF;
    FOR share IN
        WITH fresh AS (
            SELECT i.grp, i.actor_id, i.world_id, greatest(i.due_tick, w.open_tick) AS tick, i.cost
            FROM unnest(groups, world_ids, event_ids, due_ticks, actor_ids, costs) AS i(
                grp, world_id, event_id, due_tick, actor_id, cost)
            JOIN worlds w ON w.world_id = i.world_id AND w.archived_at IS NULL
            WHERE i.cost > 0 AND NOT EXISTS (
                SELECT 1 FROM events e WHERE e.world_id = i.world_id AND e.event_id = i.event_id)
        )
        SELECT f.grp, f.actor_id, f.actor_id || ' ' || f.world_id || ' ' || f.tick AS place,
            count(*) AS commands, sum(sum(f.cost)) OVER (PARTITION BY f.grp, f.actor_id) AS tokens,
            coalesce(u.commands, 0) AS tick_used, coalesce(d.tokens, 0) AS day_used,
            CASE WHEN q.actor_id IS NULL THEN 500 ELSE q.commands_per_tick END AS per_tick,
            CASE WHEN q.actor_id IS NULL THEN 200000 ELSE q.tokens_per_day END AS per_day
        FROM fresh f
        LEFT JOIN quotas q ON q.actor_id = f.actor_id
        LEFT JOIN tick_usage u ON u.actor_id = f.actor_id AND u.world_id = f.world_id AND u.tick = f.tick
        LEFT JOIN daily_usage d ON d.actor_id = f.actor_id AND d.day = today
        GROUP BY f.grp, f.actor_id, f.world_id, f.tick, u.commands, d.tokens, q.actor_id
        ORDER BY f.grp
    LOOP
        IF share.grp + 1 <> at THEN
            IF codes[at] IS NULL THEN spent := spent || pending; END IF;
            at := share.grp + 1;
            pending := '{}';
        END IF;
        CONTINUE WHEN codes[at] = 1;
        spent_in_tick := share.tick_used + coalesce((spent ->> share.place)::bigint, 0);
        spent_in_day := share.day_used + coalesce((spent ->> share.actor_id::text)::bigint, 0);
        IF spent_in_tick + share.commands > share.per_tick THEN
            codes[at] := 1;
            used[at] := spent_in_tick;
            allowed[at] := share.per_tick;
        ELSIF codes[at] IS NULL AND spent_in_day + share.tokens > share.per_day THEN
            codes[at] := 2;
            used[at] := spent_in_day;
            allowed[at] := share.per_day;
        END IF;
        pending := pending || jsonb_build_object(
            share.place, spent_in_tick - share.tick_used + share.commands,
            share.actor_id::text, spent_in_day - share.day_used + share.tokens);
    END LOOP;
END $$;

-- Accept commands, in the order of the arrays. Items of one group stand or fall together. With
-- expected_version the call must hold one group only; so it must where entity_ids are given.
-- The answer has one row per item: accepted, duplicate, conflict, version_conflict, entity_id_taken,
-- archived, unknown_world, tick_quota or token_budget (with what was used up of what was allowed), or aborted (a
-- neighbour of its group was refused). Costs are NULL where no item is an actor's: then nothing is looked up.
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
    moment timestamptz;
    today text;
    refused record;
BEGIN
    PERFORM lock_log();
    moment := clock_timestamp();
    today := to_char(moment AT TIME ZONE 'UTC', 'YYYY-MM-DD');
    refused := quota_refusals(today, groups, world_ids, event_ids, due_ticks, actor_ids, costs);
    RETURN QUERY
    WITH items AS (
        SELECT * FROM unnest(groups, world_ids, event_ids, types, schema_versions, due_ticks, priorities,
            actor_ids, payloads, batches, entity_counts, entity_ids, costs) WITH ORDINALITY AS item(
            grp, world_id, event_id, type, schema_version, due_tick, priority, actor_id, payload, batch,
            entity_count, entity_id, cost, o)
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
                WHEN refused.codes[i.grp + 1] = 1 THEN 'tick_quota'
                WHEN refused.codes[i.grp + 1] = 2 THEN 'token_budget'
                ELSE 'accepted'
            END AS verdict
        FROM items i
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
    ), charged AS (
        SELECT r.actor_id, r.world_id, r.new_tick AS tick, count(*) AS commands, sum(r.cost) AS tokens
        FROM rows r WHERE r.cost > 0 GROUP BY r.actor_id, r.world_id, r.new_tick
    ), forgotten AS (
        -- A committed tick takes no more commands, so nobody asks again how many it had.
        DELETE FROM tick_usage u USING (SELECT DISTINCT c.actor_id, c.world_id FROM charged c) c, worlds w
        WHERE u.actor_id = c.actor_id AND u.world_id = c.world_id AND w.world_id = c.world_id
            AND u.tick <= w.committed_tick
    ), in_ticks AS (
        INSERT INTO tick_usage AS u (actor_id, world_id, tick, commands)
        SELECT c.actor_id, c.world_id, c.tick, c.commands FROM charged c
        ON CONFLICT ON CONSTRAINT tick_usage_pkey DO UPDATE SET commands = u.commands + excluded.commands
    ), in_days AS (
        INSERT INTO daily_usage AS u (actor_id, day, commands, tokens)
        SELECT c.actor_id, today, sum(c.commands), sum(c.tokens) FROM charged c GROUP BY c.actor_id
        ON CONFLICT ON CONSTRAINT daily_usage_pkey DO UPDATE
        SET commands = u.commands + excluded.commands, tokens = u.tokens + excluded.tokens
    )
    SELECT r.o, r.final, r.new_position, r.new_version, r.new_tick, r.first_id, r.head, r.free_id,
        NULL::bigint, NULL::bigint
    FROM rows r
    UNION ALL
    SELECT s.o, s.final, s.old_position, s.old_version, s.old_tick, s.old_entity_id, s.head, s.free_id,
        refused.used[s.grp + 1], refused.allowed[s.grp + 1]
    FROM settled s WHERE s.final <> 'accepted'
    ORDER BY 1;
END $$;
