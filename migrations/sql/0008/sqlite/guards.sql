CREATE TRIGGER administrative_acts_no_update BEFORE UPDATE ON administrative_acts BEGIN
    SELECT RAISE(ABORT, 'administrative_acts is append-only: UPDATE is refused');
END;

CREATE TRIGGER administrative_acts_no_delete BEFORE DELETE ON administrative_acts BEGIN
    SELECT RAISE(ABORT, 'administrative_acts is append-only: DELETE is refused');
END;

-- Denials count up, and leave when newer ones have come; nothing else happens to them.
CREATE TRIGGER denials_count_up BEFORE UPDATE ON denials
WHEN NEW.denial_id IS NOT OLD.denial_id OR NEW.code IS NOT OLD.code OR NEW.reason IS NOT OLD.reason
    OR NEW.actor_id IS NOT OLD.actor_id OR NEW.key_id IS NOT OLD.key_id OR NEW.address IS NOT OLD.address
    OR NEW.action IS NOT OLD.action OR NEW.world IS NOT OLD.world OR NEW.first_at IS NOT OLD.first_at
    OR NEW.count < OLD.count OR NEW.last_at < OLD.last_at
BEGIN
    SELECT RAISE(ABORT, 'denials is append-only: this UPDATE is refused');
END;

CREATE TRIGGER denials_leave_last BEFORE DELETE ON denials
WHEN NOT EXISTS (SELECT 1 FROM denials d WHERE d.denial_id > OLD.denial_id ORDER BY d.denial_id LIMIT 1 OFFSET 99)
BEGIN
    SELECT RAISE(ABORT, 'denials is append-only: this DELETE is refused');
END;

