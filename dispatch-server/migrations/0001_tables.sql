-- What dispatch-server projects. The tables orders, offers, drivers and markets hold the engines' whole state at the sequence
-- number that servers.applied_seq names, in columns of type json: unlike jsonb it keeps every number to its last bit, the sign of
-- a zero included. The other columns are derived from it, for people and for indexes.

-- One row per server: how far it was applied, and who may write.
CREATE TABLE dispatch.servers (
    name text PRIMARY KEY,
    -- The last record of the server's journal that is in these tables.
    applied_seq bigint NOT NULL DEFAULT 0,
    -- The beginning of its SHA-256; empty where it is not known.
    applied_hash text NOT NULL DEFAULT '',
    -- The server's time of that record, in milliseconds since 1970.
    applied_at_ms bigint,
    -- The data directory that the server goes on in, by its name in the file `identity`.
    directory text NOT NULL DEFAULT '',
    -- How many processes have taken the server over. Only the last of them may write.
    epoch bigint NOT NULL DEFAULT 0,
    -- That process, by a name it drew; empty once it has ended in order.
    holder text NOT NULL DEFAULT '',
    changed_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE dispatch.markets (
    market text PRIMARY KEY,
    server text NOT NULL REFERENCES dispatch.servers (name),
    version bigint NOT NULL,
    seq bigint NOT NULL,
    at timestamptz NOT NULL,
    -- Everything of the market's state that is not of one order, offer or driver, in parts that change at different times.
    head json NOT NULL,
    rules json NOT NULL,
    demand json NOT NULL,
    readiness json NOT NULL
);

CREATE TABLE dispatch.config_versions (
    market text NOT NULL,
    version bigint NOT NULL,
    at timestamptz NOT NULL,
    actor_role text NOT NULL,
    actor_name text,
    rules json NOT NULL,
    PRIMARY KEY (market, version)
);

CREATE TABLE dispatch.drivers (
    market text NOT NULL,
    id text NOT NULL,
    version bigint NOT NULL,
    -- False once it works in another market.
    works_here boolean NOT NULL,
    shift text NOT NULL,
    paused boolean NOT NULL,
    silent boolean NOT NULL,
    vehicle text NOT NULL,
    rating double precision NOT NULL,
    acceptance double precision NOT NULL,
    state json NOT NULL,
    PRIMARY KEY (market, id)
);

CREATE TABLE dispatch.orders (
    market text NOT NULL,
    id text NOT NULL,
    version bigint NOT NULL,
    status text NOT NULL,
    kitchen text NOT NULL,
    driver text,
    place text,
    pickup_lat double precision NOT NULL,
    pickup_lng double precision NOT NULL,
    dropoff_lat double precision NOT NULL,
    dropoff_lng double precision NOT NULL,
    placed_at timestamptz NOT NULL,
    ready_at timestamptz,
    promised_at timestamptz,
    assigned_at timestamptz,
    picked_up_at timestamptz,
    ended_at timestamptz,
    overdue boolean NOT NULL,
    -- When it left the engine's memory; what has is history.
    retired_at timestamptz,
    state json NOT NULL,
    PRIMARY KEY (market, id)
);
CREATE INDEX orders_in_memory ON dispatch.orders (market, id) WHERE retired_at IS NULL;
CREATE INDEX orders_retired ON dispatch.orders (market, retired_at) WHERE retired_at IS NOT NULL;
CREATE INDEX orders_placed ON dispatch.orders (market, placed_at);
CREATE INDEX orders_of_place ON dispatch.orders (market, place, placed_at) WHERE place IS NOT NULL;

-- Orders that retired long ago, by the month they were placed in. An id may come back after its order retired.
CREATE TABLE dispatch.orders_history (
    LIKE dispatch.orders,
    PRIMARY KEY (market, id, placed_at)
) PARTITION BY RANGE (placed_at);

-- The routes that drivers have now.
CREATE TABLE dispatch.stops (
    market text NOT NULL,
    driver text NOT NULL,
    number integer NOT NULL,
    kind text NOT NULL,
    lat double precision NOT NULL,
    lng double precision NOT NULL,
    orders text[] NOT NULL,
    arrived_at timestamptz,
    arrive_at timestamptz,
    done_at timestamptz,
    leave_at timestamptz,
    PRIMARY KEY (market, driver, number)
);

CREATE TABLE dispatch.offers (
    market text NOT NULL,
    id bigint NOT NULL,
    version bigint NOT NULL,
    driver text NOT NULL,
    orders text[] NOT NULL,
    made_at timestamptz NOT NULL,
    expires_at timestamptz,
    attempt integer NOT NULL,
    wave bigint,
    -- Open while absent.
    outcome text,
    retired_at timestamptz,
    state json NOT NULL,
    PRIMARY KEY (market, id)
);
CREATE INDEX offers_of_driver ON dispatch.offers (market, driver, made_at);
CREATE INDEX offers_in_memory ON dispatch.offers (market, id) WHERE retired_at IS NULL;
CREATE INDEX offers_retired ON dispatch.offers (market, retired_at) WHERE retired_at IS NOT NULL;

-- Who has what just now. These indexes are the last guard: one driver per order, one order per place in a driver's vehicle.
CREATE TABLE dispatch.active_assignments (
    market text NOT NULL,
    order_id text NOT NULL,
    driver text NOT NULL,
    slot integer NOT NULL CHECK (slot >= 0),
    since timestamptz,
    PRIMARY KEY (market, order_id),
    UNIQUE (market, driver, slot)
);

-- Every time an order got a driver, and what became of it.
CREATE TABLE dispatch.assignments (
    market text NOT NULL,
    order_id text NOT NULL,
    -- The event that made it; negative where it is not known.
    seq bigint NOT NULL,
    driver text NOT NULL,
    at timestamptz NOT NULL,
    ended_at timestamptz,
    outcome text,
    PRIMARY KEY (market, order_id, seq)
);
CREATE INDEX assignments_of_driver ON dispatch.assignments (market, driver, at);
CREATE UNIQUE INDEX assignments_open ON dispatch.assignments (market, order_id) WHERE ended_at IS NULL;
CREATE INDEX assignments_ended ON dispatch.assignments (market, ended_at) WHERE ended_at IS NOT NULL;

-- The log: who did what, from where, when, and what it changed.
CREATE TABLE dispatch.events (
    market text NOT NULL,
    seq bigint NOT NULL,
    at timestamptz NOT NULL,
    kind text NOT NULL,
    -- What it is about: an offer, for example, may be for several orders.
    orders text[] NOT NULL,
    driver text,
    offer bigint,
    role text NOT NULL,
    name text,
    address text,
    user_agent text,
    -- The status of what it is about, before and after.
    before text,
    after text,
    event json NOT NULL,
    PRIMARY KEY (market, seq, at)
) PARTITION BY RANGE (at);
-- Of the whole day: an index of this kind cannot lead with the market, and ids of orders are rare enough.
CREATE INDEX events_of_order ON dispatch.events USING gin (orders);
CREATE INDEX events_of_driver ON dispatch.events (market, driver, seq) WHERE driver IS NOT NULL;

-- When an order was expected, each time its driver's route changed.
CREATE TABLE dispatch.eta_history (
    market text NOT NULL,
    order_id text NOT NULL,
    seq bigint NOT NULL,
    at timestamptz NOT NULL,
    driver text NOT NULL,
    pickup_at timestamptz,
    dropoff_at timestamptz,
    PRIMARY KEY (market, order_id, seq, at)
) PARTITION BY RANGE (at);

-- Where drivers were, now and then. Soft: what comes while the database is away is not kept.
CREATE TABLE dispatch.location_history (
    market text NOT NULL,
    driver text NOT NULL,
    at timestamptz NOT NULL,
    lat double precision NOT NULL,
    lng double precision NOT NULL,
    PRIMARY KEY (market, driver, at)
) PARTITION BY RANGE (at);

-- Requests that were carried out under a key of their client's, which holds for a day. Key and request are hashes.
CREATE TABLE dispatch.idempotency_keys (
    market text NOT NULL,
    key text NOT NULL,
    payload text NOT NULL,
    created boolean NOT NULL,
    -- The last record of the transaction that brought it.
    seq bigint NOT NULL,
    at timestamptz NOT NULL,
    PRIMARY KEY (market, key)
);
CREATE INDEX idempotency_keys_at ON dispatch.idempotency_keys (market, at);

-- What `dispatch-server database retention` does, in this sequence. Change the days here.
CREATE TABLE dispatch.retention_policies (
    number integer PRIMARY KEY,
    subject text NOT NULL UNIQUE,
    action text NOT NULL CHECK (action IN ('move', 'delete', 'drop', 'archive')),
    keep_days integer NOT NULL CHECK (keep_days >= 1)
);
INSERT INTO dispatch.retention_policies (number, subject, action, keep_days) VALUES
    (1, 'orders', 'move', 30),
    (2, 'offers', 'delete', 30),
    (3, 'assignments', 'delete', 365),
    (4, 'idempotency_keys', 'delete', 1),
    (5, 'location_history', 'drop', 7),
    (6, 'eta_history', 'drop', 30),
    (7, 'events', 'archive', 90),
    (8, 'orders_history', 'archive', 365);

-- Partitions that were, or are being, written to files before they are dropped. One that was dropped comes again when rows come
-- late, and then has another file.
CREATE TABLE dispatch.archives (
    partition text NOT NULL,
    number integer NOT NULL CHECK (number >= 1),
    state text NOT NULL CHECK (state IN ('written', 'dropped')),
    file text NOT NULL,
    rows bigint NOT NULL,
    bytes bigint NOT NULL,
    sha256 text NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (partition, number)
);
-- One after the other.
CREATE UNIQUE INDEX archives_written ON dispatch.archives (partition) WHERE state = 'written';
