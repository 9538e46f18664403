CREATE TRIGGER administrative_acts_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON administrative_acts
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Denials count up, and leave when newer ones have come; nothing else happens to them.
CREATE FUNCTION guard_denials() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF (NEW.denial_id, NEW.code, NEW.reason, NEW.actor_id, NEW.key_id, NEW.address, NEW.action, NEW.world, NEW.first_at)
            IS NOT DISTINCT FROM
            (OLD.denial_id, OLD.code, OLD.reason, OLD.actor_id, OLD.key_id, OLD.address, OLD.action, OLD.world, OLD.first_at)
            AND NEW.count >= OLD.count AND NEW.last_at >= OLD.last_at THEN
            RETURN NEW;
        END IF;
    ELSIF EXISTS (SELECT 1 FROM denials d WHERE d.denial_id > OLD.denial_id ORDER BY d.denial_id OFFSET 99 LIMIT 1) THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'denials is append-only: this % is refused', TG_OP
        USING HINT = 'Denials count up, and only leave behind a hundred newer ones.';
END $$;

CREATE TRIGGER denials_guarded BEFORE UPDATE OR DELETE ON denials
    FOR EACH ROW EXECUTE FUNCTION guard_denials();

CREATE TRIGGER denials_no_truncate BEFORE TRUNCATE ON denials
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

