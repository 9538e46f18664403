-- Commands with what became of them; then what was denied, and what administrators did, which have no position.
-- An origin is where the command's actor asked from at that minute: several, if from several places.
CREATE VIEW audit_trail AS
SELECT e.position, e.recorded_at, e.actor_id, a.name AS actor,
    (SELECT group_concat(DISTINCT o.address) FROM origins o
        WHERE o.actor_id IS e.actor_id AND o.first_at <= e.recorded_at
            AND e.recorded_at < strftime('%Y-%m-%dT%H:%M:%f', o.last_at, '+2 minutes')) AS origin,
    e.type, w.name AS world, e.world_id, e.event_id AS command_id, e.due_tick, e.tick,
    CASE
        WHEN r.position IS NOT NULL THEN 'rejected'
        WHEN e.tick <= w.committed_tick THEN 'applied'
        WHEN e.type IN ('create_world', 'fork_world', 'destroy_world', 'configure_world', 'thin_world', 'add_label',
            'remove_label', 'step', 'run', 'run_episode', 'run_rollout', 'cancel_run') THEN 'applied'
        ELSE 'pending'
    END AS outcome,
    json_extract(r.payload, '$.reason') AS reason, json(e.payload) AS payload
FROM events e
JOIN worlds w ON w.world_id = e.world_id
LEFT JOIN actors a ON a.actor_id = e.actor_id
LEFT JOIN events r ON r.world_id = e.world_id AND r.cause_id = e.event_id AND r.type = 'command_rejected'
WHERE e.kind = 'command'
UNION ALL
SELECT NULL, d.last_at, d.actor_id, a.name, d.address, coalesce(d.action, 'authenticate'), d.world, NULL, NULL, NULL, NULL,
    'denied', d.reason, json_object('code', d.code, 'count', d.count, 'first_at', d.first_at, 'last_at', d.last_at)
FROM denials d
LEFT JOIN actors a ON a.actor_id = d.actor_id
UNION ALL
SELECT NULL, s.recorded_at, s.actor_id, a.name, s.address, s.act, NULL, NULL, NULL, NULL, NULL,
    'done', s.reason, json(s.detail)
FROM administrative_acts s
LEFT JOIN actors a ON a.actor_id = s.actor_id
