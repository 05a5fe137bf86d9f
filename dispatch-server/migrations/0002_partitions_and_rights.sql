-- The server makes partitions as days come, and owns no table: this function does it for whoever may write.
CREATE FUNCTION dispatch.make_partition(parent text, day date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    first date;
    next date;
    partition text;
BEGIN
    IF parent IN ('events', 'eta_history', 'location_history') THEN
        first := day;
        next := day + 1;
        partition := parent || to_char(first, '_YYYYMMDD');
    ELSIF parent = 'orders_history' THEN
        first := date_trunc('month', day::timestamp)::date;
        next := (first + interval '1 month')::date;
        partition := parent || to_char(first, '_YYYYMM');
    ELSE
        RAISE EXCEPTION '% has no partitions', parent;
    END IF;
    -- Of two who want it at once one makes it.
    IF to_regclass('dispatch.' || partition) IS NULL THEN
        PERFORM pg_advisory_xact_lock(hashtext('dispatch partitions'));
    END IF;
    IF to_regclass('dispatch.' || partition) IS NULL THEN
        -- Attached, and not made in its place: that would wait for everybody who reads the table, and they for it.
        EXECUTE format('CREATE TABLE dispatch.%I (LIKE dispatch.%I INCLUDING DEFAULTS)', partition, parent);
        -- The bounds are days of UTC, whatever the session's time zone.
        EXECUTE format('ALTER TABLE dispatch.%I ATTACH PARTITION dispatch.%I FOR VALUES FROM (%L) TO (%L)',
            parent, partition, first || ' 00:00:00+00', next || ' 00:00:00+00');
    END IF;
END
$$;
REVOKE ALL ON FUNCTION dispatch.make_partition(text, date) FROM PUBLIC;

-- A role that can do what a running server does and nothing else: it cannot change or remove what happened, and makes no table.
-- Grant it to the user the server connects as. Roles belong to the whole cluster, so there may be one already, or this user may
-- not make one; then an administrator does, and runs grant_server_rights.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'dispatch_server') THEN
        CREATE ROLE dispatch_server NOLOGIN;
    END IF;
EXCEPTION
    WHEN insufficient_privilege THEN
        RAISE NOTICE 'the role dispatch_server was not made: that takes CREATEROLE';
    WHEN duplicate_object OR unique_violation THEN
        NULL;
END
$$;

CREATE FUNCTION dispatch.grant_server_rights() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    GRANT USAGE ON SCHEMA dispatch TO dispatch_server;
    GRANT SELECT ON ALL TABLES IN SCHEMA dispatch TO dispatch_server;
    GRANT INSERT, UPDATE ON dispatch.servers, dispatch.markets, dispatch.drivers, dispatch.orders, dispatch.offers,
        dispatch.assignments, dispatch.idempotency_keys TO dispatch_server;
    GRANT INSERT, DELETE ON dispatch.stops, dispatch.active_assignments TO dispatch_server;
    GRANT INSERT ON dispatch.config_versions, dispatch.events, dispatch.eta_history, dispatch.location_history,
        dispatch.orders_history TO dispatch_server;
    GRANT EXECUTE ON FUNCTION dispatch.make_partition(text, date) TO dispatch_server;
END
$$;
REVOKE ALL ON FUNCTION dispatch.grant_server_rights() FROM PUBLIC;

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'dispatch_server') THEN
        PERFORM dispatch.grant_server_rights();
    END IF;
END
$$;
