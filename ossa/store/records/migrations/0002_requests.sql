-- Requests for an Execution that came over HTTP: written down before they are answered, closed once they are carried
-- out. What is open is looked at again and again until it is.
CREATE TABLE requests (
    -- Of a request with an Idempotency-Key made from who, where, the key and what is asked; else random. The Execution
    -- has it in the annotation ossa.dev/request-id.
    id uuid PRIMARY KEY,
    user_name text NOT NULL,
    identity text NOT NULL,                  -- JSON: groups and kind, as they were; rights are asked for again by them
    namespace text NOT NULL,
    name text NOT NULL,                      -- of the Execution
    idempotency_key text,                    -- null: the client gave none
    spec text NOT NULL,                      -- JSON of the Execution's spec; text, since jsonb has no character 0
    traceparent text NOT NULL,
    -- open; done: the Execution is there, or was; refused: not allowed after all; withdrawn: the client was told to ask
    -- again. The last two are opened again by the same request with the same key.
    state text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'done', 'refused', 'withdrawn')),
    execution_uid text,
    problem text,                            -- JSON: the problem document of a refusal
    attempts integer NOT NULL DEFAULT 0,     -- of carriers
    created_at timestamptz NOT NULL DEFAULT now(),
    due_at timestamptz NOT NULL,             -- no carrier looks at it before
    closed_at timestamptz
) WITH (fillfactor = 80);
CREATE UNIQUE INDEX requests_by_key ON requests (user_name, namespace, idempotency_key)
    WHERE idempotency_key IS NOT NULL;
CREATE INDEX requests_open ON requests (due_at) WHERE state = 'open';
CREATE INDEX requests_closed ON requests (closed_at) WHERE closed_at IS NOT NULL;
