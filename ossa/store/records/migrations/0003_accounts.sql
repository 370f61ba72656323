-- Who signs in at the gateway: local users, sessions, refresh tokens, and the keys that sign access tokens.

CREATE TABLE users (
    id            uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    name          text NOT NULL UNIQUE,                -- as typed at sign-in, without the prefix `ossa:`
    password_hash text NOT NULL,                       -- argon2id, with its parameters and salt
    groups        text[] NOT NULL DEFAULT '{}',        -- without the prefix
    disabled      boolean NOT NULL DEFAULT false,
    created_by    text NOT NULL,                       -- as Kubernetes knows them, or `bootstrap`
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE sessions (
    id           uuid PRIMARY KEY,
    user_name    text NOT NULL,                        -- with the prefix, as Kubernetes knows them
    local_user   uuid REFERENCES users (id) ON DELETE SET NULL,  -- NULL: signed in by OpenID Connect
    groups       text[] NOT NULL,                      -- at sign-in, with the prefix
    method       text NOT NULL CHECK (method IN ('password', 'oidc')),
    address      text NOT NULL,
    client       text NOT NULL,                        -- the User-Agent, cut
    created_at   timestamptz NOT NULL DEFAULT now(),
    refreshed_at timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz NOT NULL,
    ended_at     timestamptz,
    ended_by     text                                  -- logout, reuse, disabled, password, revoked
);
CREATE INDEX sessions_of_user ON sessions (user_name, created_at DESC);
CREATE INDEX sessions_by_expiry ON sessions (expires_at);
CREATE INDEX sessions_of_local_user ON sessions (local_user) WHERE ended_at IS NULL;

CREATE TABLE refresh_tokens (
    hash       bytea PRIMARY KEY,                      -- SHA-256 of the token, which is 256 bits of chance
    session_id uuid NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    issued_at  timestamptz NOT NULL DEFAULT now(),
    used_at    timestamptz
);
CREATE INDEX refresh_tokens_of_session ON refresh_tokens (session_id);

CREATE TABLE signing_keys (
    kid            text PRIMARY KEY,
    public_key     bytea NOT NULL,                     -- Ed25519, 32 bytes
    sealed_key     bytea NOT NULL,                     -- AES-256-GCM: nonce, then the private key's 32 bytes and the tag
    sealed_by      text NOT NULL,                      -- which key of the installation's Secret opens it
    created_at     timestamptz NOT NULL DEFAULT now(),
    signs_from     timestamptz NOT NULL,               -- later than all replicas have read it
    signs_until    timestamptz NOT NULL,
    verifies_until timestamptz NOT NULL                -- later than the last token that it signed expires
);
