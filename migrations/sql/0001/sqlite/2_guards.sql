CREATE TRIGGER events_no_update BEFORE UPDATE ON events BEGIN
    SELECT RAISE(ABORT, 'events is append-only: UPDATE is refused');
END;

CREATE TRIGGER events_no_delete BEFORE DELETE ON events BEGIN
    SELECT RAISE(ABORT, 'events is append-only: DELETE is refused');
END;

CREATE TRIGGER ticks_no_update BEFORE UPDATE ON ticks BEGIN
    SELECT RAISE(ABORT, 'ticks is append-only: UPDATE is refused');
END;

CREATE TRIGGER ticks_no_delete BEFORE DELETE ON ticks BEGIN
    SELECT RAISE(ABORT, 'ticks is append-only: DELETE is refused');
END;

CREATE TRIGGER programs_no_update BEFORE UPDATE ON programs BEGIN
    SELECT RAISE(ABORT, 'programs is append-only: UPDATE is refused');
END;

CREATE TRIGGER programs_no_delete BEFORE DELETE ON programs BEGIN
    SELECT RAISE(ABORT, 'programs is append-only: DELETE is refused');
END;

CREATE TRIGGER archetypes_no_update BEFORE UPDATE ON archetypes BEGIN
    SELECT RAISE(ABORT, 'archetypes is append-only: UPDATE is refused');
END;

CREATE TRIGGER archetypes_no_delete BEFORE DELETE ON archetypes BEGIN
    SELECT RAISE(ABORT, 'archetypes is append-only: DELETE is refused');
END;

CREATE TRIGGER snapshots_no_update BEFORE UPDATE ON snapshots BEGIN
    SELECT RAISE(ABORT, 'snapshots is append-only: UPDATE is refused');
END;

CREATE TRIGGER pages_no_update BEFORE UPDATE ON pages BEGIN
    SELECT RAISE(ABORT, 'pages is append-only: UPDATE is refused');
END;
