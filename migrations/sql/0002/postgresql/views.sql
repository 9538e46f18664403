CREATE VIEW audit_trail AS
SELECT e.position, e.recorded_at, e.actor_id, e.type, w.name AS world, e.world_id, e.event_id AS command_id,
    e.due_tick, e.tick,
    CASE
        WHEN r.position IS NOT NULL THEN 'rejected'
        WHEN e.tick <= w.committed_tick THEN 'applied'
        WHEN e.type IN ('create_world', 'fork_world', 'destroy_world', 'configure_world', 'thin_world', 'add_label',
            'remove_label', 'step', 'run') THEN 'applied'
        ELSE 'pending'
    END AS outcome,
    r.payload::jsonb ->> 'reason' AS reason, e.payload::jsonb AS payload
FROM events e
JOIN worlds w ON w.world_id = e.world_id
LEFT JOIN events r ON r.world_id = e.world_id AND r.cause_id = e.event_id AND r.type = 'command_rejected'
WHERE e.kind = 'command';

CREATE VIEW lineage AS
WITH RECURSIVE segment AS (
    SELECT world_id, world_id AS owner_id, coalesce(fork_tick + 1, 0) AS from_tick, NULL::bigint AS to_tick,
        0 AS depth, parent_id
    FROM worlds
    UNION ALL
    SELECT s.world_id, p.world_id, coalesce(p.fork_tick + 1, 0), s.from_tick, s.depth + 1, p.parent_id
    FROM segment s JOIN worlds p ON p.world_id = s.parent_id WHERE s.from_tick > 0
)
SELECT world_id, owner_id, from_tick, to_tick, depth FROM segment;
