CREATE VIEW executions AS
SELECT e.world_id, w.name AS world, e.tick, (x.value ->> 'group')::int AS group_number,
    (x.value ->> 'index')::int AS processor_index, x.value ->> 'processor' AS processor,
    x.value ->> 'status' AS status, (x.value ->> 'archetypes')::bigint AS archetype_count,
    (x.value ->> 'rows')::bigint AS row_count, (x.value ->> 'cells')::bigint AS cell_count,
    (x.value ->> 'ms')::float8 AS duration_ms, (x.value ->> 'attempts')::int AS attempt_count,
    coalesce((x.value ->> 'spawned')::bigint, 0) AS spawned_count,
    coalesce((x.value ->> 'ended')::bigint, 0) AS ended_count,
    coalesce((x.value ->> 'dropped')::bigint, 0) AS dropped_count, x.value -> 'failures' AS failures,
    e.payload::jsonb ->> 'run_id' AS run_id
FROM events e
JOIN worlds w ON w.world_id = e.world_id
CROSS JOIN LATERAL jsonb_array_elements(e.payload::jsonb -> 'executions') AS x(value)
WHERE e.kind = 'fact' AND e.type = 'tick_committed';

CREATE VIEW conflicts AS
SELECT e.world_id, w.name AS world, e.tick, (x.value ->> 'group')::int AS group_number,
    x.value ->> 'component' AS component, x.value ->> 'field' AS field, x.value ->> 'resolution' AS resolution,
    x.value -> 'writers' AS writers, x.value -> 'winners' AS winners,
    (x.value ->> 'entity_count')::bigint AS entity_count, x.value -> 'entity_ids' AS entity_ids
FROM events e
JOIN worlds w ON w.world_id = e.world_id
CROSS JOIN LATERAL jsonb_array_elements(e.payload::jsonb -> 'conflicts') AS x(value)
WHERE e.kind = 'fact' AND e.type = 'tick_committed';
