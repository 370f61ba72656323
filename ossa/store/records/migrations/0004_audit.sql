-- The audit trail. `body` is a link's text, of which its hash is made: what it says counts, the other columns are for
-- queries alone and repeat it. Partitioned by when it was linked, which grows along a chain.
CREATE TABLE audit (
    writer text NOT NULL,                    -- the process that linked it
    epoch text NOT NULL,                     -- the life of that process
    seq bigint NOT NULL,                     -- from 1 on, without a gap
    recorded timestamptz NOT NULL,
    body text NOT NULL,
    id text NOT NULL,                        -- of the request; of what the API server told: its auditID and stage
    "time" timestamptz NOT NULL,             -- when it happened
    "user" text NOT NULL,
    address text NOT NULL,
    verb text NOT NULL,
    resource text NOT NULL,
    namespace text NOT NULL,
    name text NOT NULL,
    outcome text NOT NULL,                   -- asked, allowed, denied, failed
    PRIMARY KEY (writer, epoch, seq, recorded)
) PARTITION BY RANGE (recorded);
CREATE INDEX audit_newest ON audit (recorded DESC);
CREATE INDEX audit_by_id ON audit (id);
CREATE INDEX audit_by_user ON audit ("user", recorded DESC);
CREATE INDEX audit_by_object ON audit (resource, namespace, name, recorded DESC);
CREATE TABLE audit_default PARTITION OF audit DEFAULT;

-- A link is never changed, and goes with its partition alone. This guards against mistakes: whoever owns the table can
-- take the guard away, and what they do then is found by the chains.
CREATE FUNCTION audit_is_kept() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'links of the audit trail are never changed';
END
$$;
CREATE TRIGGER audit_is_kept BEFORE UPDATE OR DELETE ON audit FOR EACH ROW EXECUTE FUNCTION audit_is_kept();
-- From here rows move to their own partition once it is made.
ALTER TABLE audit_default DISABLE TRIGGER audit_is_kept;

-- How far each chain has come, signed: the newest head alone. It is also the register of all epochs there ever were.
CREATE TABLE audit_heads (
    writer text NOT NULL,
    epoch text NOT NULL,
    seq bigint NOT NULL,
    closed boolean NOT NULL,
    "time" timestamptz NOT NULL,
    body text NOT NULL,                      -- the head as it was signed
    PRIMARY KEY (writer, epoch)
) WITH (fillfactor = 70);
CREATE INDEX audit_heads_newest ON audit_heads ("time" DESC);
