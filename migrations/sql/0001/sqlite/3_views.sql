CREATE VIEW command_log AS
SELECT e.position, e.world_id, w.name AS world, e.version, e.event_id AS command_id, e.type, e.due_tick, e.tick,
    e.priority, e.actor_id, e.first_entity_id, json(e.payload) AS payload, length(e.batch) AS batch_bytes,
    e.recorded_at, lower(hex(e.hash)) AS hash
FROM events e JOIN worlds w ON w.world_id = e.world_id
WHERE e.kind = 'command';

CREATE VIEW audit_trail AS
SELECT e.position, e.recorded_at, e.actor_id, e.type, w.name AS world, e.world_id, e.event_id AS command_id,
    e.due_tick, e.tick,
    CASE
        WHEN r.position IS NOT NULL THEN 'rejected'
        WHEN e.tick <= w.committed_tick THEN 'applied'
        WHEN e.type IN ('create_world', 'fork_world', 'destroy_world', 'step', 'run') THEN 'applied'
        ELSE 'pending'
    END AS outcome,
    json_extract(r.payload, '$.reason') AS reason, json(e.payload) AS payload
FROM events e
JOIN worlds w ON w.world_id = e.world_id
LEFT JOIN events r ON r.world_id = e.world_id AND r.cause_id = e.event_id AND r.type = 'command_rejected'
WHERE e.kind = 'command';

CREATE VIEW world_tree AS
WITH RECURSIVE tree AS (
    SELECT world_id, name, parent_id, fork_tick, committed_tick, archived_at, 0 AS depth, name AS path
    FROM worlds WHERE parent_id IS NULL
    UNION ALL
    SELECT w.world_id, w.name, w.parent_id, w.fork_tick, w.committed_tick, w.archived_at, t.depth + 1,
        t.path || '/' || w.name
    FROM worlds w JOIN tree t ON w.parent_id = t.world_id
)
SELECT * FROM tree;

CREATE VIEW tick_log AS
SELECT t.world_id, w.name AS world, t.tick, t.position, t.run_id, t.entity_count, t.command_count,
    t.rejected_count, t.started_at, t.compute_ms, t.persist_ms, lower(hex(t.commit_hash)) AS commit_hash,
    lower(hex(t.parent_hash)) AS parent_hash, lower(hex(t.state_hash)) AS state_hash,
    lower(hex(t.code_hash)) AS code_hash
FROM ticks t JOIN worlds w ON w.world_id = t.world_id;

CREATE VIEW storage_use AS
SELECT 'events' AS what, count(*) AS row_count, coalesce(sum(length(payload) + coalesce(length(batch), 0)), 0) AS bytes
FROM events
UNION ALL SELECT 'ticks', count(*), NULL FROM ticks
UNION ALL SELECT 'snapshots', count(*), coalesce(sum(length(pages)), 0) FROM snapshots
UNION ALL SELECT 'pages', count(*), coalesce(sum(size_bytes), 0) FROM pages;
