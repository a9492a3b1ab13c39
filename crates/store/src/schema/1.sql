-- The record, version 1. Times are nanoseconds since 1970 (UTC): datetime(at / 1000000000, 'unixepoch').
-- A migration is never edited after a release: add the next file.
PRAGMA application_id = 0x52464C54; -- "RFLT"

CREATE TABLE operations (
    number   INTEGER PRIMARY KEY,
    id       TEXT    NOT NULL UNIQUE,
    cluster  TEXT    NOT NULL,
    kind     TEXT    NOT NULL,
    by       TEXT    NOT NULL,
    created  INTEGER NOT NULL,
    identity INTEGER NOT NULL, -- checksum of what never changes; seed of the chain of events
    last_seq INTEGER NOT NULL,
    chain    INTEGER NOT NULL, -- checksum of the newest event
    format   INTEGER NOT NULL, -- of the newest event
    ended    INTEGER,
    outcome  TEXT,
    seal     INTEGER NOT NULL, -- checksum of this row
    CHECK ((ended IS NULL) = (outcome IS NULL))
) STRICT;
CREATE INDEX operations_by_cluster ON operations (cluster, number);
CREATE INDEX operations_active ON operations (number) WHERE ended IS NULL;

CREATE TABLE operation_nodes (
    operation INTEGER NOT NULL REFERENCES operations (number),
    position  INTEGER NOT NULL,
    cluster   TEXT    NOT NULL,
    node      TEXT    NOT NULL,
    active    INTEGER NOT NULL CHECK (active IN (0, 1)),
    PRIMARY KEY (operation, position)
) STRICT;
CREATE UNIQUE INDEX one_active_operation_per_node ON operation_nodes (cluster, node) WHERE active = 1;
CREATE INDEX operation_nodes_by_node ON operation_nodes (node, operation);

CREATE TABLE events (
    operation INTEGER NOT NULL REFERENCES operations (number),
    seq       INTEGER NOT NULL CHECK (seq > 0),
    at        INTEGER NOT NULL,
    format    INTEGER NOT NULL,
    payload   TEXT    NOT NULL,
    chain     INTEGER NOT NULL, -- checksum of this event and the chain before it
    PRIMARY KEY (operation, seq)
) STRICT;

CREATE TABLE audit (
    number  INTEGER PRIMARY KEY,
    at      INTEGER NOT NULL,
    who     TEXT    NOT NULL,
    verb    TEXT    NOT NULL,
    object  TEXT    NOT NULL,
    outcome TEXT    NOT NULL,
    detail  TEXT    NOT NULL,
    seal    INTEGER NOT NULL
) STRICT;

CREATE TRIGGER events_never_change BEFORE UPDATE ON events
BEGIN SELECT RAISE(ABORT, 'events are append-only'); END;
CREATE TRIGGER events_never_go BEFORE DELETE ON events
BEGIN SELECT RAISE(ABORT, 'events are append-only'); END;
CREATE TRIGGER audit_never_changes BEFORE UPDATE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER audit_never_goes BEFORE DELETE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER operations_never_go BEFORE DELETE ON operations
BEGIN SELECT RAISE(ABORT, 'operations are never deleted'); END;
CREATE TRIGGER operations_keep_their_identity
BEFORE UPDATE OF number, id, cluster, kind, by, created, identity ON operations
BEGIN SELECT RAISE(ABORT, 'what an operation is never changes'); END;
CREATE TRIGGER operations_stay_ended BEFORE UPDATE ON operations WHEN OLD.ended IS NOT NULL
BEGIN SELECT RAISE(ABORT, 'an ended operation never changes'); END;
CREATE TRIGGER operation_nodes_never_go BEFORE DELETE ON operation_nodes
BEGIN SELECT RAISE(ABORT, 'nodes of an operation are never deleted'); END;
