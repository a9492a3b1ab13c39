-- The record, version 2: who may speak for a host.

CREATE TABLE agent_tokens (
    id      TEXT    PRIMARY KEY,
    hash    BLOB    NOT NULL, -- SHA-256 of the secret; the secret itself is not kept
    cluster TEXT    NOT NULL,
    node    TEXT    NOT NULL,
    by      TEXT    NOT NULL,
    created INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    used    INTEGER
) STRICT;

CREATE TABLE agents (
    fingerprint BLOB    PRIMARY KEY, -- SHA-256 of the certificate
    cluster     TEXT    NOT NULL,
    node        TEXT    NOT NULL,
    token       TEXT    NOT NULL REFERENCES agent_tokens (id),
    enrolled    INTEGER NOT NULL,
    revoked     INTEGER,
    revoked_by  TEXT,
    CHECK ((revoked IS NULL) = (revoked_by IS NULL))
) STRICT;
CREATE UNIQUE INDEX one_agent_per_node ON agents (cluster, node) WHERE revoked IS NULL;

CREATE TRIGGER agents_never_go BEFORE DELETE ON agents
BEGIN SELECT RAISE(ABORT, 'agents are never deleted'); END;
CREATE TRIGGER agents_stay_revoked BEFORE UPDATE ON agents WHEN OLD.revoked IS NOT NULL
BEGIN SELECT RAISE(ABORT, 'a revoked agent stays revoked'); END;
CREATE TRIGGER agent_tokens_never_go BEFORE DELETE ON agent_tokens
BEGIN SELECT RAISE(ABORT, 'tokens are never deleted'); END;
CREATE TRIGGER agent_tokens_are_used_once BEFORE UPDATE ON agent_tokens WHEN OLD.used IS NOT NULL
BEGIN SELECT RAISE(ABORT, 'a token is used once'); END;
