CREATE VIEW executions AS
SELECT e.world_id, w.name AS world, e.tick, json_extract(x.value, '$.group') AS group_number,
    json_extract(x.value, '$.index') AS processor_index, json_extract(x.value, '$.processor') AS processor,
    json_extract(x.value, '$.status') AS status, json_extract(x.value, '$.archetypes') AS archetype_count,
    json_extract(x.value, '$.rows') AS row_count, json_extract(x.value, '$.cells') AS cell_count,
    json_extract(x.value, '$.ms') AS duration_ms, json_extract(x.value, '$.attempts') AS attempt_count,
    coalesce(json_extract(x.value, '$.spawned'), 0) AS spawned_count,
    coalesce(json_extract(x.value, '$.ended'), 0) AS ended_count,
    coalesce(json_extract(x.value, '$.dropped'), 0) AS dropped_count, json_extract(x.value, '$.failures') AS failures,
    json_extract(e.payload, '$.run_id') AS run_id
FROM events e
JOIN worlds w ON w.world_id = e.world_id
JOIN json_each(e.payload, '$.executions') x
WHERE e.kind = 'fact' AND e.type = 'tick_committed';

CREATE VIEW conflicts AS
SELECT e.world_id, w.name AS world, e.tick, json_extract(x.value, '$.group') AS group_number,
    json_extract(x.value, '$.component') AS component, json_extract(x.value, '$.field') AS field,
    json_extract(x.value, '$.resolution') AS resolution, json_extract(x.value, '$.writers') AS writers,
    json_extract(x.value, '$.winners') AS winners, json_extract(x.value, '$.entity_count') AS entity_count,
    json_extract(x.value, '$.entity_ids') AS entity_ids
FROM events e
JOIN worlds w ON w.world_id = e.world_id
JOIN json_each(e.payload, '$.conflicts') x
WHERE e.kind = 'fact' AND e.type = 'tick_committed';
