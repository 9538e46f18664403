DROP VIEW storage_use;

CREATE VIEW storage_use AS
SELECT 'events' AS what, count(*) AS row_count, coalesce(sum(length(payload) + coalesce(length(batch), 0)), 0) AS bytes,
    coalesce(sum(length(payload) + coalesce(length(batch), 0)), 0) AS content_bytes
FROM events
UNION ALL SELECT 'ticks', count(*), NULL, NULL FROM ticks
UNION ALL SELECT 'snapshots', count(*), coalesce(sum(length(pages)), 0), coalesce(sum(length(pages)), 0) FROM snapshots
UNION ALL SELECT 'pages', count(*), coalesce(sum(size_bytes), 0), coalesce(sum(content_size_bytes), 0) FROM pages;
