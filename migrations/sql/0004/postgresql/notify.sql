-- Tells whoever listens how far the log has come. It runs at the end of the transaction, so the transaction sends one
-- notice, whatever it wrote, and the server hands it out behind the commit.
CREATE FUNCTION notify_log() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('archetype_log', (SELECT h.position::text FROM log_head h));
    RETURN NULL;
END $$;

CREATE CONSTRAINT TRIGGER log_head_notify AFTER UPDATE ON log_head
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (OLD.position <> NEW.position) EXECUTE FUNCTION notify_log();
