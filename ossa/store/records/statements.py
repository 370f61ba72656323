"""The statements that write rows. Each takes a JSON array of rows, so that any number of them is one round trip.

A state is written where it is newer than what is recorded; what refers to another row by name takes the newest of that
name that is there, and keeps what it had where there is none.
"""

from __future__ import annotations

PRINCIPALS = """
INSERT INTO principals (id, name, kind)
SELECT r.id, r.name, r.kind FROM jsonb_to_recordset($1) AS r(id uuid, name text, kind text) ORDER BY r.id
ON CONFLICT DO NOTHING
"""

AGENTS = """
INSERT INTO agents (
    id, namespace, name, type, version, status, capabilities, config, created_by, created_at, resource_version)
SELECT r.id, r.namespace, r.name, r.type, r.version, r.status, r.capabilities, r.config, p.id, r.created_at,
    r.resource_version
FROM jsonb_to_recordset($1) AS r(
    id uuid, namespace text, name text, type text, version text, status text, capabilities jsonb, config jsonb,
    author text, created_at timestamptz, resource_version bigint)
LEFT JOIN principals p ON p.name = r.author
ORDER BY r.id
ON CONFLICT (id) DO UPDATE SET
    type = EXCLUDED.type, version = EXCLUDED.version, status = EXCLUDED.status, capabilities = EXCLUDED.capabilities,
    config = EXCLUDED.config, created_by = COALESCE(EXCLUDED.created_by, agents.created_by),
    resource_version = EXCLUDED.resource_version, recorded_at = now()
WHERE agents.resource_version < EXCLUDED.resource_version
"""

WORKFLOWS = """
INSERT INTO workflows (
    id, namespace, name, version, definition, status, created_by, created_at, resource_version)
SELECT r.id, r.namespace, r.name, r.version, r.definition, r.status, p.id, r.created_at, r.resource_version
FROM jsonb_to_recordset($1) AS r(
    id uuid, namespace text, name text, version text, definition jsonb, status text, author text,
    created_at timestamptz, resource_version bigint)
LEFT JOIN principals p ON p.name = r.author
ORDER BY r.id
ON CONFLICT (id) DO UPDATE SET
    version = EXCLUDED.version, definition = EXCLUDED.definition, status = EXCLUDED.status,
    created_by = COALESCE(EXCLUDED.created_by, workflows.created_by),
    resource_version = EXCLUDED.resource_version, recorded_at = now()
WHERE workflows.resource_version < EXCLUDED.resource_version
"""

POLICIES = """
INSERT INTO policies (
    id, name, action, severity, status, generation, definition, created_by, created_at, resource_version)
SELECT r.id, r.name, r.action, r.severity, r.status, r.generation, r.definition, p.id, r.created_at,
    r.resource_version
FROM jsonb_to_recordset($1) AS r(
    id uuid, name text, action text, severity text, status text, generation bigint, definition jsonb, author text,
    created_at timestamptz, resource_version bigint)
LEFT JOIN principals p ON p.name = r.author
ORDER BY r.id
ON CONFLICT (id) DO UPDATE SET
    action = EXCLUDED.action, severity = EXCLUDED.severity, status = EXCLUDED.status,
    generation = EXCLUDED.generation, definition = EXCLUDED.definition,
    created_by = COALESCE(EXCLUDED.created_by, policies.created_by),
    resource_version = EXCLUDED.resource_version, recorded_at = now()
WHERE policies.resource_version < EXCLUDED.resource_version
"""

EXECUTIONS = """
INSERT INTO executions (
    id, namespace, name, workflow_id, workflow, status, finished, started_at, completed_at, context, results, error,
    progress, message, attempt, request_id, trace_id, created_by, created_at, resource_version)
SELECT r.id, r.namespace, r.name, w.id, r.workflow, r.status, r.finished, r.started_at, r.completed_at, r.context,
    r.results, r.error, r.progress, r.message, r.attempt, r.request_id, r.trace_id, p.id, r.created_at,
    r.resource_version
FROM jsonb_to_recordset($1) AS r(
    id uuid, namespace text, name text, workflow text, status text, finished boolean, started_at timestamptz,
    completed_at timestamptz, context jsonb, results jsonb, error jsonb, progress text, message text, attempt integer,
    request_id text, trace_id text, author text, created_at timestamptz, resource_version bigint)
LEFT JOIN principals p ON p.name = r.author
LEFT JOIN LATERAL (
    SELECT id FROM workflows WHERE namespace = r.namespace AND name = r.workflow ORDER BY created_at DESC LIMIT 1
) w ON true
ORDER BY r.id
ON CONFLICT (id) DO UPDATE SET
    workflow_id = COALESCE(executions.workflow_id, EXCLUDED.workflow_id), status = EXCLUDED.status,
    finished = EXCLUDED.finished, started_at = EXCLUDED.started_at, completed_at = EXCLUDED.completed_at,
    context = EXCLUDED.context, results = EXCLUDED.results, error = EXCLUDED.error, progress = EXCLUDED.progress,
    message = EXCLUDED.message, attempt = EXCLUDED.attempt,
    request_id = COALESCE(EXCLUDED.request_id, executions.request_id),
    trace_id = COALESCE(EXCLUDED.trace_id, executions.trace_id),
    created_by = COALESCE(EXCLUDED.created_by, executions.created_by),
    resource_version = EXCLUDED.resource_version, recorded_at = now()
WHERE executions.resource_version < EXCLUDED.resource_version
"""

# Tasks of a state that came too late are left out. An attempt that the object does not name is the one recorded last.
# What an agent of type judge gave is a decision, made once: a task, or an item of it, completes once.
TASKS = """
WITH given AS (
    SELECT r.*, e.created_at AS execution_created_at, e.namespace, COALESCE(
        r.attempt,
        (SELECT max(t.attempt) FROM tasks t
         WHERE t.execution_id = r.execution_id AND t.execution_created_at = e.created_at
            AND t.name = r.name AND t.index = r.index),
        1) AS number
    FROM jsonb_to_recordset($1) AS r(
        execution_id uuid, resource_version bigint, name text, index integer, round integer, attempt integer,
        status text, priority integer, input jsonb, output jsonb, agent text, pod text, reason text,
        exit_code integer, message text, started_at timestamptz, completed_at timestamptz)
    JOIN executions e ON e.id = r.execution_id AND e.resource_version = r.resource_version
), written AS (
    INSERT INTO tasks (
        id, execution_id, agent_id, name, index, round, attempt, status, priority, input, output, agent, pod, reason,
        exit_code, message, started_at, completed_at, execution_created_at, resource_version)
    SELECT md5(concat_ws('/', g.execution_id, g.name, g.index, g.number))::uuid, g.execution_id, a.id, g.name, g.index,
        g.round, g.number, g.status, g.priority, g.input, g.output, g.agent, g.pod, g.reason, g.exit_code, g.message,
        g.started_at, g.completed_at, g.execution_created_at, g.resource_version
    FROM given g
    LEFT JOIN LATERAL (
        SELECT id FROM agents WHERE namespace = g.namespace AND name = g.agent ORDER BY created_at DESC LIMIT 1
    ) a ON true
    ORDER BY 1
    ON CONFLICT (execution_id, name, index, attempt, execution_created_at) DO UPDATE SET
        agent_id = COALESCE(tasks.agent_id, EXCLUDED.agent_id), agent = COALESCE(EXCLUDED.agent, tasks.agent),
        status = EXCLUDED.status, priority = EXCLUDED.priority, input = COALESCE(EXCLUDED.input, tasks.input),
        output = COALESCE(EXCLUDED.output, tasks.output), pod = COALESCE(EXCLUDED.pod, tasks.pod),
        reason = EXCLUDED.reason, exit_code = EXCLUDED.exit_code, message = EXCLUDED.message,
        started_at = COALESCE(EXCLUDED.started_at, tasks.started_at),
        completed_at = COALESCE(EXCLUDED.completed_at, tasks.completed_at),
        resource_version = EXCLUDED.resource_version, recorded_at = now()
    WHERE tasks.resource_version < EXCLUDED.resource_version
    RETURNING id, execution_id, agent_id, name, status, output, completed_at, GREATEST(started_at, completed_at) AS at
), judged AS (
    INSERT INTO decisions (id, namespace, execution_id, task, agent_id, verdict, reason, decided_at)
    SELECT md5(concat_ws('/', 'judged', w.id))::uuid, a.namespace, w.execution_id, w.name, a.id,
        CASE WHEN jsonb_typeof(w.output->'verdict') = 'string' THEN w.output->>'verdict' ELSE 'Judged' END,
        CASE WHEN jsonb_typeof(w.output->'reason') = 'string' THEN w.output->>'reason' ELSE '' END,
        COALESCE(w.completed_at, now())
    FROM written w JOIN agents a ON a.id = w.agent_id AND a.type = 'judge'
    WHERE w.status = 'Completed'
    ORDER BY 1
    ON CONFLICT (id) DO NOTHING
)
UPDATE agents SET last_heartbeat = seen.at
FROM (SELECT agent_id, max(at) AS at FROM written WHERE agent_id IS NOT NULL GROUP BY agent_id) seen
WHERE agents.id = seen.agent_id AND seen.at > COALESCE(agents.last_heartbeat, '-infinity')
"""

# An attempt after which there is another one did not end well, whether or not its end was seen.
SUPERSEDED = """
UPDATE tasks t SET status = 'Failed', resource_version = e.resource_version, recorded_at = now()
FROM jsonb_to_recordset($1) AS r(
    execution_id uuid, resource_version bigint, name text, index integer, attempt integer)
JOIN executions e ON e.id = r.execution_id AND e.resource_version = r.resource_version
WHERE t.execution_id = r.execution_id AND t.execution_created_at = e.created_at AND t.name = r.name
    AND t.index = r.index AND t.attempt < r.attempt AND t.status NOT IN ('Completed', 'Failed', 'Skipped')
"""

APPROVALS = """
INSERT INTO approvals (
    id, namespace, name, execution_id, task, round, attempt, status, message, definition, expires_at, decided_at,
    created_at, resource_version)
SELECT r.id, r.namespace, r.name, r.execution_id, r.task, r.round, r.attempt, r.status, r.message, r.definition,
    r.expires_at, r.decided_at, r.created_at, r.resource_version
FROM jsonb_to_recordset($1) AS r(
    id uuid, namespace text, name text, execution_id uuid, task text, round integer, attempt integer, status text,
    message text, definition jsonb, expires_at timestamptz, decided_at timestamptz, created_at timestamptz,
    resource_version bigint)
ORDER BY r.id
ON CONFLICT (id) DO UPDATE SET
    status = EXCLUDED.status, message = EXCLUDED.message, definition = EXCLUDED.definition,
    expires_at = EXCLUDED.expires_at, decided_at = EXCLUDED.decided_at,
    resource_version = EXCLUDED.resource_version, recorded_at = now()
WHERE approvals.resource_version < EXCLUDED.resource_version
"""

DECISIONS = """
INSERT INTO decisions (
    id, namespace, execution_id, approval_id, task, principal_id, verdict, reason, decided_at)
SELECT r.id, r.namespace, r.execution_id, r.approval_id, r.task, p.id, r.verdict, r.reason,
    COALESCE(r.decided_at, now())
FROM jsonb_to_recordset($1) AS r(
    id uuid, namespace text, execution_id uuid, approval_id uuid, task text, author text, verdict text, reason text,
    decided_at timestamptz)
JOIN principals p ON p.name = r.author
ORDER BY r.id
ON CONFLICT (id) DO NOTHING
"""

# Tables of the resources, by the plural of their kind.
TABLES = {
    "agents": "agents",
    "workflows": "workflows",
    "agentpolicies": "policies",
    "executions": "executions",
    "approvals": "approvals",
}
DELETED = {
    plural: f"""
UPDATE {table} t SET deleted_at = COALESCE(t.deleted_at, now()),
    resource_version = GREATEST(t.resource_version, r.resource_version)
FROM jsonb_to_recordset($1) AS r(id uuid, resource_version bigint) WHERE t.id = r.id
"""  # noqa: S608 - the tables above
    for plural, table in TABLES.items()
}
LIVE = {
    plural: f"SELECT id::text, resource_version FROM {table} WHERE deleted_at IS NULL"  # noqa: S608 - likewise
    for plural, table in TABLES.items()
}
