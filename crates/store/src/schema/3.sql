-- The record, version 3: operations of several kinds and generations (parent and child), what a list shows of them,
-- who occupies a node as a table of its own, and the numbers of orders to hosts.

ALTER TABLE operations ADD COLUMN version INTEGER NOT NULL DEFAULT 1; -- of what its kind records
ALTER TABLE operations ADD COLUMN parent INTEGER REFERENCES operations (number);
ALTER TABLE operations ADD COLUMN occupies INTEGER NOT NULL DEFAULT 1 CHECK (occupies IN (0, 1));
ALTER TABLE operations ADD COLUMN summary TEXT;
CREATE INDEX operations_by_kind ON operations (kind, number);
CREATE INDEX operations_by_parent ON operations (parent, number) WHERE parent IS NOT NULL;

-- Several operations may have one node: an operation, and those it is part of.
CREATE TABLE occupied (
    cluster   TEXT    NOT NULL,
    node      TEXT    NOT NULL,
    operation INTEGER NOT NULL REFERENCES operations (number),
    PRIMARY KEY (cluster, node, operation)
) STRICT, WITHOUT ROWID;
CREATE INDEX occupied_by_operation ON occupied (operation);
INSERT INTO occupied (cluster, node, operation)
SELECT cluster, node, operation FROM operation_nodes WHERE active = 1;
DROP INDEX one_active_operation_per_node;
ALTER TABLE operation_nodes DROP COLUMN active;
CREATE TRIGGER operation_nodes_never_change BEFORE UPDATE ON operation_nodes
BEGIN SELECT RAISE(ABORT, 'what an operation is never changes'); END;

DROP TRIGGER operations_keep_their_identity;
CREATE TRIGGER operations_keep_their_identity
BEFORE UPDATE OF number, id, cluster, kind, version, parent, occupies, by, created, identity ON operations
BEGIN SELECT RAISE(ABORT, 'what an operation is never changes'); END;
-- With one exception: version 2 had no summaries, and these are added later.
DROP TRIGGER operations_stay_ended;
CREATE TRIGGER operations_stay_ended
BEFORE UPDATE OF last_seq, chain, format, ended, outcome ON operations WHEN OLD.ended IS NOT NULL
BEGIN SELECT RAISE(ABORT, 'an ended operation never changes'); END;
CREATE TRIGGER operations_keep_their_last_summary
BEFORE UPDATE OF summary, seal ON operations WHEN OLD.ended IS NOT NULL AND OLD.summary IS NOT NULL
BEGIN SELECT RAISE(ABORT, 'an ended operation never changes'); END;

CREATE TABLE generations (
    cluster TEXT    NOT NULL,
    node    TEXT    NOT NULL,
    last    INTEGER NOT NULL, -- given out; the next order to this host gets a higher one
    PRIMARY KEY (cluster, node)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER generations_only_grow BEFORE UPDATE ON generations
WHEN NEW.last <= OLD.last OR NEW.cluster <> OLD.cluster OR NEW.node <> OLD.node
BEGIN SELECT RAISE(ABORT, 'a generation is given out once'); END;
CREATE TRIGGER generations_never_go BEFORE DELETE ON generations
BEGIN SELECT RAISE(ABORT, 'generations are never deleted'); END;
-- Version 2 gave out milliseconds since 1970, and kept them in the audit log only, under CLUSTER/NODE. The object is
-- split at its last slash: a node's name has none.
INSERT INTO generations (cluster, node, last)
SELECT substr(place, 1, length(place) - 1), substr(object, length(place) + 1), max(generation)
FROM (
    SELECT object,
           rtrim(object, replace(object, '/', '')) AS place,
           CASE WHEN json_valid(detail) THEN json_extract(detail, '$.order.generation') END AS generation
    FROM audit
    WHERE verb LIKE 'host.%'
)
WHERE typeof(generation) = 'integer' AND place <> ''
GROUP BY object;
