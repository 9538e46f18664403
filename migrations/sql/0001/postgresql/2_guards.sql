CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: % is refused', TG_TABLE_NAME, TG_OP
        USING HINT = 'History is corrected by a further command, never by an edit.';
END $$;

CREATE TRIGGER events_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE TRIGGER ticks_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ticks
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE TRIGGER programs_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON programs
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE TRIGGER archetypes_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON archetypes
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE TRIGGER snapshots_no_edit BEFORE UPDATE OR TRUNCATE ON snapshots
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE TRIGGER pages_no_edit BEFORE UPDATE OR TRUNCATE ON pages
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
