-- +goose Up

-- The other tables name an application by its number. A session that was created
-- at or before ended_all_at has ended.
CREATE TABLE apps (
  num          INTEGER PRIMARY KEY,
  name         TEXT NOT NULL UNIQUE,
  ended_all_at INTEGER,
  purge_after  BLOB -- the sweep for ended_all_at has examined the sessions up to this ID; NULL: all
);

-- One row for each session and each tombstone, in the order of creation (IDs are
-- UUIDs of version 7). Times are milliseconds since 1970; NULL means never, or
-- none. The view session_list is for people.
CREATE TABLE sessions (
  app                  INTEGER NOT NULL,
  id                   BLOB NOT NULL,
  created_at           INTEGER,
  revision             INTEGER NOT NULL,
  epoch                INTEGER NOT NULL,
  secret               BLOB, -- SHA-256 of the current secret
  secret_issued_at     INTEGER,
  secret_first_seen_at INTEGER,
  secret_confirmed_at  INTEGER,
  secret_until         INTEGER,
  secret_login         INTEGER NOT NULL,
  former_secrets       TEXT, -- JSON; hashes of secrets before the current one
  epoch_hash           BLOB,
  authenticated_at     INTEGER,
  last_seen_at         INTEGER,
  idle                 INTEGER, -- milliseconds after last_seen_at
  expires_at           INTEGER,
  amr                  TEXT,
  level                INTEGER NOT NULL,
  remembered           INTEGER NOT NULL,
  stale                INTEGER NOT NULL,
  bearer               INTEGER NOT NULL,
  until_browser_closes INTEGER NOT NULL,
  ip                   TEXT,
  user_agent           TEXT,
  last_ip              TEXT, -- NULL: the client at creation
  last_user_agent      TEXT,
  end_reason           TEXT, -- NULL while the session lives
  ended_at             INTEGER,
  subject              TEXT, -- NULL: anonymous
  joined               INTEGER, -- the order in which sessions became the subject's
  sweep_at             INTEGER NOT NULL, -- when the sweep examines the row again; never after its deadline
  data                 TEXT, -- the values, a JSON object; last, since it may be long
  PRIMARY KEY (app, id)
) WITHOUT ROWID;

CREATE INDEX sessions_by_subject ON sessions (app, subject, joined) WHERE subject IS NOT NULL;
CREATE INDEX sessions_by_sweep ON sessions (app, sweep_at);

-- A login of the subject whose request arrived at or before raised_at fails.
CREATE TABLE barriers (
  app       INTEGER NOT NULL,
  subject   TEXT NOT NULL,
  raised_at INTEGER NOT NULL,
  PRIMARY KEY (app, subject)
) WITHOUT ROWID;
CREATE INDEX barriers_by_time ON barriers (app, raised_at);

CREATE TABLE idempotency_keys (
  app        INTEGER NOT NULL,
  key        TEXT NOT NULL,
  body       BLOB NOT NULL,
  session    BLOB NOT NULL,
  created_at INTEGER NOT NULL,
  PRIMARY KEY (app, key)
) WITHOUT ROWID;
CREATE INDEX idempotency_keys_by_time ON idempotency_keys (app, created_at);

CREATE VIEW session_list AS
SELECT
  apps.name AS app,
  lower(substr(hex(id), 1, 8) || '-' || substr(hex(id), 9, 4) || '-' || substr(hex(id), 13, 4) || '-' || substr(hex(id), 17, 4) || '-' || substr(hex(id), 21)) AS id,
  subject,
  CASE WHEN end_reason IS NOT NULL THEN end_reason WHEN sessions.created_at <= apps.ended_all_at THEN 'revoked' ELSE 'live' END AS state,
  strftime('%Y-%m-%dT%H:%M:%fZ', created_at / 1000.0, 'unixepoch') AS created_at,
  strftime('%Y-%m-%dT%H:%M:%fZ', authenticated_at / 1000.0, 'unixepoch') AS authenticated_at,
  strftime('%Y-%m-%dT%H:%M:%fZ', last_seen_at / 1000.0, 'unixepoch') AS last_seen_at,
  strftime('%Y-%m-%dT%H:%M:%fZ', min(last_seen_at + idle, expires_at) / 1000.0, 'unixepoch') AS expires_at,
  strftime('%Y-%m-%dT%H:%M:%fZ', ended_at / 1000.0, 'unixepoch') AS ended_at,
  amr, level, remembered,
  coalesce(last_ip, ip) AS ip,
  coalesce(last_user_agent, user_agent) AS user_agent,
  revision,
  data AS "values"
FROM sessions JOIN apps ON apps.num = sessions.app;
