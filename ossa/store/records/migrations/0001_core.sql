-- What is recorded of the resources. `id` of what is an object of the cluster is its UID: names come again, UIDs do not.
-- resource_version: of the state that was recorded; an older one never replaces a newer one.
-- deleted_at: the object is gone from the cluster, its history stays.

-- Whoever acts: a person, a service account, the platform. `id` is made from the name.
CREATE TABLE principals (
    id uuid PRIMARY KEY,
    name text NOT NULL UNIQUE,
    kind text NOT NULL CHECK (kind IN ('person', 'agent', 'system'))
);

CREATE TABLE agents (
    id uuid PRIMARY KEY,
    namespace text NOT NULL,
    name text NOT NULL,
    type text NOT NULL,
    version text NOT NULL,
    status text NOT NULL,                    -- Ready, NotReady, Unknown
    capabilities jsonb NOT NULL,
    config jsonb NOT NULL,                   -- the rest of its spec
    last_heartbeat timestamptz,              -- when an attempt of it last started or ended
    created_by uuid REFERENCES principals,
    created_at timestamptz NOT NULL,
    resource_version bigint NOT NULL,
    deleted_at timestamptz,
    recorded_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX agents_by_name ON agents (namespace, name, created_at DESC);
CREATE INDEX agents_live ON agents (id) WHERE deleted_at IS NULL;

CREATE TABLE workflows (
    id uuid PRIMARY KEY,
    namespace text NOT NULL,
    name text NOT NULL,
    version text NOT NULL,
    definition jsonb NOT NULL,               -- its spec
    status text NOT NULL,                    -- Draft, Published
    created_by uuid REFERENCES principals,
    created_at timestamptz NOT NULL,
    resource_version bigint NOT NULL,
    deleted_at timestamptz,
    recorded_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX workflows_by_name ON workflows (namespace, name, created_at DESC);
CREATE INDEX workflows_live ON workflows (id) WHERE deleted_at IS NULL;

CREATE TABLE executions (
    id uuid PRIMARY KEY,
    namespace text NOT NULL,
    name text NOT NULL,
    workflow_id uuid REFERENCES workflows,   -- null: the Workflow was not there, or is inline
    workflow text NOT NULL,                  -- its name
    status text NOT NULL,                    -- Pending, Running, Paused, Retrying, Completed, Failed
    finished boolean NOT NULL,               -- it ended for good; a Failed one may be tried again
    started_at timestamptz,
    completed_at timestamptz,
    context jsonb NOT NULL,                  -- its spec, and the revision that it runs
    results jsonb,                           -- what it gave
    error jsonb,                             -- what went wrong first
    progress text NOT NULL,
    message text,
    attempt integer NOT NULL,
    request_id text,                         -- of the request that made it
    trace_id text,
    created_by uuid REFERENCES principals,   -- its author
    created_at timestamptz NOT NULL,
    resource_version bigint NOT NULL,
    deleted_at timestamptz,
    recorded_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 80);
CREATE INDEX executions_newest ON executions (created_at DESC, id DESC);
CREATE INDEX executions_by_namespace ON executions (namespace, created_at DESC, id DESC);
CREATE INDEX executions_by_workflow ON executions (namespace, workflow, created_at DESC, id DESC);
CREATE INDEX executions_by_status ON executions (namespace, status, created_at DESC, id DESC);
CREATE INDEX executions_by_author ON executions (created_by, created_at DESC, id DESC);
CREATE INDEX executions_by_name ON executions (namespace, name, created_at DESC);
CREATE INDEX executions_live ON executions (id) WHERE deleted_at IS NULL;

-- One row an attempt: the index is -1 for a task that is no item of a forEach. Attempts are numbered on through the
-- attempts of the Execution (`round`: in which of them the row was first seen), so that execution, name, index and
-- attempt name one. Partitioned by when the Execution was created, which never changes: the same attempt always meets
-- itself, and the tasks of an Execution lie and go together.
CREATE TABLE tasks (
    id uuid NOT NULL,                        -- made from execution, name, index and attempt
    execution_id uuid NOT NULL REFERENCES executions ON DELETE CASCADE,
    agent_id uuid REFERENCES agents,         -- null: an approval, a nested workflow, or an Agent that was never seen
    name text NOT NULL,
    index integer NOT NULL,
    round integer NOT NULL,
    attempt integer NOT NULL,
    status text NOT NULL,                    -- Pending, Waiting, Running, Retrying, Completed, Failed, Skipped
    priority integer NOT NULL,
    input jsonb,                             -- as the workflow has it, expressions not evaluated
    output jsonb,                            -- as the Execution showed it; large values by reference
    agent text,                              -- its name
    pod text,
    reason text,
    exit_code integer,
    message text,
    started_at timestamptz,
    completed_at timestamptz,
    execution_created_at timestamptz NOT NULL,
    resource_version bigint NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (id, execution_created_at),
    UNIQUE (execution_id, name, index, attempt, execution_created_at)
) PARTITION BY RANGE (execution_created_at);
CREATE INDEX tasks_by_agent ON tasks (agent_id, execution_created_at DESC, id DESC);
CREATE TABLE tasks_default PARTITION OF tasks DEFAULT;

-- Measurements. The stream of metrics may be ahead of the Executions: execution_id refers to none that must be there.
CREATE TABLE metrics (
    id uuid NOT NULL,                        -- made from the message's id
    agent_id uuid REFERENCES agents,         -- null: not measured of an agent
    execution_id uuid,
    namespace text NOT NULL,
    metric_name text NOT NULL,
    metric_value numeric NOT NULL,
    labels jsonb NOT NULL,
    "timestamp" timestamptz NOT NULL,
    PRIMARY KEY (id, "timestamp")
) PARTITION BY RANGE ("timestamp");
CREATE INDEX metrics_by_name ON metrics (namespace, metric_name, "timestamp" DESC, id DESC);
CREATE INDEX metrics_by_execution ON metrics (execution_id, "timestamp" DESC, id DESC) WHERE execution_id IS NOT NULL;
CREATE INDEX metrics_by_agent ON metrics (agent_id, "timestamp" DESC) WHERE agent_id IS NOT NULL;
CREATE TABLE metrics_default PARTITION OF metrics DEFAULT;

-- Each transition, as the bus told it. `time` belongs to the key: it is the same each time that the same is told.
CREATE TABLE task_events (
    id text NOT NULL,
    "time" timestamptz NOT NULL,
    type text NOT NULL,                      -- execution, task, approval, decision
    namespace text NOT NULL,
    execution_id uuid NOT NULL,              -- likewise: none that must be there
    execution text NOT NULL,
    workflow text NOT NULL,
    sequence bigint NOT NULL,
    phase text NOT NULL,
    previous text,
    task text,
    index integer,
    round integer NOT NULL,
    attempt integer,
    agent text,
    reason text,
    message text,
    "user" text,
    source text NOT NULL,
    trace_id text,
    PRIMARY KEY (id, "time")
) PARTITION BY RANGE ("time");
CREATE INDEX task_events_by_execution ON task_events (execution_id, "time", id);
CREATE TABLE task_events_default PARTITION OF task_events DEFAULT;

CREATE TABLE policies (
    id uuid PRIMARY KEY,
    name text NOT NULL,
    action text NOT NULL,
    severity text NOT NULL,
    status text NOT NULL,                    -- Ready, NotReady, Unknown
    generation bigint NOT NULL,              -- the version by which it is named where it judged
    definition jsonb NOT NULL,
    created_by uuid REFERENCES principals,
    created_at timestamptz NOT NULL,
    resource_version bigint NOT NULL,
    deleted_at timestamptz,
    recorded_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX policies_by_name ON policies (name, created_at DESC);
CREATE INDEX policies_live ON policies (id) WHERE deleted_at IS NULL;

-- Watches of two kinds are not in step: execution_id refers to none that must be there.
CREATE TABLE approvals (
    id uuid PRIMARY KEY,
    namespace text NOT NULL,
    name text NOT NULL,
    execution_id uuid NOT NULL,
    task text NOT NULL,
    round integer NOT NULL,
    attempt integer NOT NULL,
    status text NOT NULL,                    -- Pending, Approved, Rejected, Expired
    message text NOT NULL,
    definition jsonb NOT NULL,               -- its spec: who may decide, how many must approve
    expires_at timestamptz,
    decided_at timestamptz,
    created_at timestamptz NOT NULL,
    resource_version bigint NOT NULL,
    deleted_at timestamptz,
    recorded_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX approvals_by_execution ON approvals (execution_id);
CREATE INDEX approvals_newest ON approvals (namespace, status, created_at DESC, id DESC);
CREATE INDEX approvals_live ON approvals (id) WHERE deleted_at IS NULL;

-- What was decided, by a person or by an agent. A decision is final: the first that was recorded stays.
CREATE TABLE decisions (
    id uuid PRIMARY KEY,                     -- made from what was decided about and by whom
    namespace text NOT NULL,
    execution_id uuid NOT NULL,
    approval_id uuid REFERENCES approvals,   -- null: decided without one
    task text NOT NULL,
    agent_id uuid REFERENCES agents,         -- null: decided by a person
    principal_id uuid REFERENCES principals, -- null: decided by an agent of a workflow
    verdict text NOT NULL,
    reason text NOT NULL,
    decided_at timestamptz NOT NULL          -- when it was first seen
);
CREATE INDEX decisions_by_execution ON decisions (execution_id, decided_at);
CREATE INDEX decisions_by_principal ON decisions (principal_id, decided_at DESC);
