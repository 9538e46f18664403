CREATE VIEW audit_trail AS
SELECT e.position, e.recorded_at, e.actor_id, e.type, w.name AS world, e.world_id, e.event_id AS command_id,
    e.due_tick, e.tick,
    CASE
        WHEN r.position IS NOT NULL THEN 'rejected'
        WHEN e.tick <= w.committed_tick THEN 'applied'
        WHEN e.type IN ('create_world', 'fork_world', 'destroy_world', 'configure_world', 'thin_world', 'add_label',
            'remove_label', 'step', 'run', 'run_episode', 'run_rollout', 'cancel_run') THEN 'applied'
        ELSE 'pending'
    END AS outcome,
    r.payload::jsonb ->> 'reason' AS reason, e.payload::jsonb AS payload
FROM events e
JOIN worlds w ON w.world_id = e.world_id
LEFT JOIN events r ON r.world_id = e.world_id AND r.cause_id = e.event_id AND r.type = 'command_rejected'
WHERE e.kind = 'command';

