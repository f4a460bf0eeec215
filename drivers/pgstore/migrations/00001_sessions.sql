-- The schema. The store replaces the name sojourn by the schema's own; nothing
-- relies on a search path.

-- The other tables name an application by its number. A session that was created
-- at or before ended_all_at has ended.
CREATE TABLE sojourn.apps (
  num          integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name         text COLLATE "C" NOT NULL UNIQUE,
  ended_all_at bigint,
  purge_after  uuid -- the sweep for ended_all_at has examined the sessions up to this ID; NULL: all
);

-- One row for each session and each tombstone. Times are milliseconds since 1970;
-- NULL means never, or none. In texts a backslash is written \\, and NUL and bytes
-- that aren't UTF-8 as \x00, because PostgreSQL's text can't hold them. The view
-- session_list is for people. The order of the columns saves padding.
CREATE TABLE sojourn.sessions (
  id                   uuid NOT NULL,
  created_at           bigint NOT NULL,
  revision             bigint NOT NULL,
  epoch                bigint NOT NULL,
  last_seen_at         bigint NOT NULL,
  idle                 bigint NOT NULL, -- milliseconds after last_seen_at
  expires_at           bigint NOT NULL,
  sweep_at             bigint NOT NULL, -- when the sweep examines the row again; never after its deadline
  joined               bigint,          -- the order in which sessions became the subject's
  authenticated_at     bigint,
  ended_at             bigint,
  secret_issued_at     bigint,
  secret_first_seen_at bigint,
  secret_confirmed_at  bigint,
  secret_until         bigint,
  app                  integer NOT NULL,
  level                smallint NOT NULL,
  secret_login         boolean NOT NULL,
  remembered           boolean NOT NULL,
  stale                boolean NOT NULL,
  bearer               boolean NOT NULL,
  until_browser_closes boolean NOT NULL,
  secret               bytea, -- SHA-256 of the current secret
  epoch_hash           bytea,
  subject              text COLLATE "C", -- NULL: anonymous
  amr                  text,
  ip                   text,
  user_agent           text,
  last_ip              text, -- NULL: the client at creation
  last_user_agent      text,
  end_reason           text, -- NULL while the session lives
  former_secrets       json, -- hashes of secrets before the current one
  data                 jsonb, -- the values
  data_packed          bytea, -- the values, if jsonb can't hold them: see store.Values
  PRIMARY KEY (app, id)
) WITH (fillfactor = 90, autovacuum_vacuum_scale_factor = 0.05);

-- By a hash, because a subject may be too long for an index. Queries for a subject
-- say "app + 0", so that no plan from the time when the table was empty reads the
-- whole application by the primary key.
CREATE INDEX sessions_by_subject ON sojourn.sessions (hashtextextended(subject, app), id) WHERE subject IS NOT NULL;
CREATE INDEX sessions_by_sweep ON sojourn.sessions ((-app), sweep_at); -- queries of the sweep say "-app", for the same reason

CREATE SEQUENCE sojourn.joins;

-- A login of the subject whose request arrived at or before raised_at fails.
CREATE TABLE sojourn.barriers (
  app       integer NOT NULL,
  raised_at bigint NOT NULL,
  subject   text COLLATE "C" NOT NULL
);
CREATE INDEX barriers_by_subject ON sojourn.barriers (hashtextextended(subject, app));
CREATE INDEX barriers_by_time ON sojourn.barriers (app, raised_at);

CREATE TABLE sojourn.idempotency_keys (
  app        integer NOT NULL,
  key        text COLLATE "C" NOT NULL,
  created_at bigint NOT NULL,
  session    uuid NOT NULL,
  body       bytea NOT NULL,
  PRIMARY KEY (app, key)
);
CREATE INDEX idempotency_keys_by_time ON sojourn.idempotency_keys ((-app), created_at);

-- The change feed: each transaction records its changes here, and every node reads
-- what has become visible since its last read. The table is unlogged: a crash or
-- a failover empties it, but also ends every reader's connection to PostgreSQL.
-- Its numbers come from a logged sequence. An identity column's sequence is
-- unlogged like its table, and PostgreSQL 15 and newer may find it damaged on a
-- promoted standby ("bad magic number in sequence"): then no session could be
-- created or changed.
CREATE SEQUENCE sojourn.changes_order;
CREATE UNLOGGED TABLE sojourn.changes (
  xid      xid8 NOT NULL DEFAULT pg_current_xact_id(),
  seq      bigint NOT NULL DEFAULT nextval('sojourn.changes_order'), -- orders the changes of a session, whose row is locked when the number is drawn
  revision bigint, -- of a changed session
  session  uuid,   -- NULL: all of the application's sessions until now
  app      integer NOT NULL,
  kind     smallint NOT NULL -- store.ChangeKind
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000, autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = -1);
CREATE INDEX changes_by_xid ON sojourn.changes (xid);

-- Whatever empties the table of changes empties this one too. A feed that finds
-- another row than before has lost changes, even if a pooler has kept its
-- connection. A feed that finds no row inserts one.
CREATE UNLOGGED TABLE sojourn.changes_life (id uuid PRIMARY KEY);

CREATE FUNCTION sojourn.time_of(ms bigint) RETURNS timestamptz LANGUAGE sql IMMUTABLE AS $$
  SELECT CASE WHEN ms BETWEEN 1 AND 253402300799999 THEN to_timestamp(ms / 1000.0) END
$$;

CREATE VIEW sojourn.session_list AS
SELECT
  a.name AS app,
  s.id,
  s.subject,
  CASE WHEN s.end_reason IS NOT NULL THEN s.end_reason WHEN s.created_at <= a.ended_all_at THEN 'revoked' ELSE 'live' END AS state,
  sojourn.time_of(s.created_at) AS created_at,
  sojourn.time_of(s.authenticated_at) AS authenticated_at,
  sojourn.time_of(s.last_seen_at) AS last_seen_at,
  sojourn.time_of(least(s.last_seen_at + s.idle, s.expires_at)) AS expires_at,
  sojourn.time_of(s.ended_at) AS ended_at,
  s.amr, s.level, s.remembered,
  coalesce(s.last_ip, s.ip) AS ip,
  coalesce(s.last_user_agent, s.user_agent) AS user_agent,
  s.revision,
  s.data AS "values"
FROM sojourn.sessions s JOIN sojourn.apps a ON a.num = s.app;

-- The functions. Each write of the store is one statement that calls one of them,
-- and so one transaction: no lock is held while a client is slow or stops. They
-- rely on the isolation level "read committed", in which every statement of a
-- function sees what was committed before the statement began.
--
-- They use no sequential scans, because a plan that was made for a small table is
-- also used when the table is large.
--
-- Locks are taken in this order: the application's (advisory), an idempotency
-- key's (advisory), a subject's (advisory), rows of sessions by ascending ID.

-- seed separates the advisory locks of this schema and application from others'.
CREATE FUNCTION sojourn.seed(app_num integer) RETURNS bigint LANGUAGE sql STABLE AS $$
  SELECT ('sojourn.apps'::regclass::oid::bigint << 32) | app_num
$$;

-- need_app returns the application, and creates it if necessary.
CREATE FUNCTION sojourn.need_app(app_name text) RETURNS sojourn.apps LANGUAGE plpgsql AS $$
DECLARE
  a sojourn.apps;
BEGIN
  SELECT * INTO a FROM sojourn.apps WHERE name = app_name;
  IF NOT FOUND THEN
    INSERT INTO sojourn.apps (name) VALUES (app_name) ON CONFLICT (name) DO NOTHING;
    SELECT * INTO a FROM sojourn.apps WHERE name = app_name;
  END IF;
  RETURN a;
END $$;

-- enter_app is need_app with a lock: nobody raises the application's watermark
-- before the end of the transaction.
CREATE FUNCTION sojourn.enter_app(app_name text) RETURNS sojourn.apps LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_advisory_xact_lock_shared(hashtextextended(app_name, sojourn.seed(0)));
  RETURN sojourn.need_app(app_name);
END $$;

CREATE FUNCTION sojourn.lock_subject(app_num integer, who text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF current_setting('transaction_isolation') <> 'read committed' THEN
    RAISE EXCEPTION 'Sojourn needs the isolation level "read committed"' USING
      HINT = 'Set default_transaction_isolation of the role and the database back.';
  END IF;
  PERFORM pg_advisory_xact_lock(hashtextextended(who, sojourn.seed(app_num)));
END $$;

-- bury turns sessions that have not ended into tombstones. The caller has locked
-- their rows. A tombstone keeps the hashes that recognise its tokens; the store
-- turns them into fingerprints when it reads them. Without a reason, a session
-- ends by its deadline.
CREATE FUNCTION sojourn.bury(app_num integer, victims uuid[], why text, at bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  victim uuid;
BEGIN
  FOREACH victim IN ARRAY coalesce(victims, '{}') LOOP
    UPDATE sojourn.sessions s SET
      end_reason = coalesce(why, CASE WHEN s.last_seen_at + s.idle < s.expires_at THEN 'idle' ELSE 'absolute' END),
      ended_at = coalesce(at, least(s.last_seen_at + s.idle, s.expires_at)),
      sweep_at = coalesce(at, least(s.last_seen_at + s.idle, s.expires_at)) + 3600001,
      subject = NULL, joined = NULL, authenticated_at = NULL, amr = NULL, ip = NULL, user_agent = NULL,
      last_ip = NULL, last_user_agent = NULL, data = NULL, data_packed = NULL
    WHERE s.app = app_num AND s.id = victim;
    INSERT INTO sojourn.changes (app, session, kind) VALUES (app_num, victim, 2);
  END LOOP;
END $$;

-- admit checks the barrier and the limit of a subject, whose lock the caller
-- holds. It changes nothing, but locks the rows of the subject's sessions and of
-- self. It doesn't count self.
CREATE FUNCTION sojourn.admit(a sojourn.apps, who text, self uuid, arrived bigint, now bigint, max_live integer, refuse boolean,
  OUT refused text, OUT evicted uuid[], OUT expired uuid[], OUT expired_why text[], OUT expired_at bigint[]) LANGUAGE plpgsql AS $$
DECLARE
  others uuid[];
  other  uuid;
  t      record;
  live   uuid[];
  joined bigint[];
  excess integer;
BEGIN
  PERFORM FROM sojourn.barriers b
    WHERE hashtextextended(b.subject, b.app) = hashtextextended(who, a.num) AND b.app = a.num AND b.subject = who AND b.raised_at >= arrived;
  IF FOUND OR a.ended_all_at >= arrived THEN
    refused := 'barrier';
    RETURN;
  END IF;
  IF max_live <= 0 THEN
    RETURN;
  END IF;
  others := ARRAY(SELECT s.id FROM sojourn.sessions s
    WHERE hashtextextended(s.subject, s.app) = hashtextextended(who, a.num) AND s.app + 0 = a.num AND s.subject = who AND s.id <> self);
  IF cardinality(others) < max_live THEN
    RETURN;
  END IF;
  -- Some may have expired. A touch may be moving a deadline, but not while the row
  -- is locked.
  FOREACH other IN ARRAY ARRAY(SELECT unnest(others || self) ORDER BY 1) LOOP
    SELECT s.subject, s.joined, s.created_at <= a.ended_all_at AS marked, s.last_seen_at + s.idle AS idle_at, s.expires_at
      INTO t FROM sojourn.sessions s WHERE s.app = a.num AND s.id = other FOR NO KEY UPDATE;
    IF other = self OR t.subject IS DISTINCT FROM who OR t.marked THEN
      CONTINUE; -- it has left the subject meanwhile, or does not count
    ELSIF now < least(t.idle_at, t.expires_at) THEN
      live := live || other;
      joined := joined || t.joined;
    ELSE
      expired := expired || other;
      expired_why := expired_why || CASE WHEN t.idle_at < t.expires_at THEN 'idle' ELSE 'absolute' END;
      expired_at := expired_at || least(t.idle_at, t.expires_at);
    END IF;
  END LOOP;
  excess := coalesce(cardinality(live), 0) + 1 - max_live;
  IF excess > 0 AND refuse THEN
    refused := 'limit';
  ELSIF excess > 0 THEN
    evicted := ARRAY(SELECT l.id FROM unnest(live, joined) AS l (id, place) ORDER BY l.place, l.id LIMIT excess);
  END IF;
END $$;

-- A session as a node writes it: the columns of the table at this version, in
-- their order. The table may get more columns, each with a default. A node of
-- this version goes on writing beside a newer one, and leaves them as they are.
CREATE TYPE sojourn.session AS (
  id uuid, created_at bigint, revision bigint, epoch bigint, last_seen_at bigint, idle bigint, expires_at bigint,
  sweep_at bigint, joined bigint, authenticated_at bigint, ended_at bigint, secret_issued_at bigint,
  secret_first_seen_at bigint, secret_confirmed_at bigint, secret_until bigint, app integer, level smallint,
  secret_login boolean, remembered boolean, stale boolean, bearer boolean, until_browser_closes boolean, secret bytea,
  epoch_hash bytea, subject text COLLATE "C", amr text, ip text, user_agent text, last_ip text, last_user_agent text,
  end_reason text, former_secrets json, data jsonb, data_packed bytea
);

CREATE FUNCTION sojourn.create_session(app_name text, s sojourn.session, arrived bigint, now bigint, max_live integer, refuse boolean,
  idem_key text, idem_body bytea, is_full boolean,
  OUT outcome text, OUT evicted uuid[], OUT expired uuid[], OUT expired_why text[], OUT expired_at bigint[], OUT existing uuid) LANGUAGE plpgsql SET enable_seqscan = off AS $$
DECLARE
  a sojourn.apps := sojourn.enter_app(app_name);
BEGIN
  IF idem_key IS NOT NULL THEN
    PERFORM pg_advisory_xact_lock(hashtextextended(idem_key, ~sojourn.seed(a.num)));
    SELECT CASE WHEN k.body = idem_body THEN 'repeated' ELSE 'key reused' END, k.session INTO outcome, existing
      FROM sojourn.idempotency_keys k WHERE k.app = a.num AND k.key = idem_key AND k.created_at >= now - 86400000;
    IF FOUND THEN
      RETURN;
    END IF;
  END IF;
  IF a.ended_all_at >= least(arrived, s.created_at) THEN
    outcome := 'barrier';
    RETURN;
  END IF;
  IF is_full THEN
    outcome := 'full';
    RETURN;
  END IF;
  IF s.subject IS NOT NULL THEN
    PERFORM sojourn.lock_subject(a.num, s.subject);
    SELECT * INTO outcome, evicted, expired, expired_why, expired_at
      FROM sojourn.admit(a, s.subject, s.id, arrived, now, max_live, refuse);
    IF outcome IS NOT NULL THEN
      RETURN;
    END IF;
    s.joined := nextval('sojourn.joins');
  END IF;
  s.app := a.num;
  INSERT INTO sojourn.sessions SELECT s.* ON CONFLICT DO NOTHING;
  IF NOT FOUND THEN
    outcome := 'exists';
    RETURN;
  END IF;
  INSERT INTO sojourn.changes (app, session, revision, kind) VALUES (a.num, s.id, s.revision, 1);
  IF idem_key IS NOT NULL THEN
    INSERT INTO sojourn.idempotency_keys (app, key, created_at, session, body) VALUES (a.num, idem_key, now, s.id, idem_body)
      ON CONFLICT (app, key) DO UPDATE SET created_at = excluded.created_at, session = excluded.session, body = excluded.body;
  END IF;
  PERFORM sojourn.bury(a.num, evicted, 'evicted', now);
  PERFORM sojourn.bury(a.num, expired, NULL, NULL);
  outcome := 'done';
END $$;

-- replace replaces a live record of the same revision, and of the same subject
-- unless whatever_subject is set.
CREATE FUNCTION sojourn.replace(a sojourn.apps, s sojourn.session, now bigint, whatever_subject boolean) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  UPDATE sojourn.sessions t SET
    revision = t.revision + 1, epoch = s.epoch,
    last_seen_at = greatest(t.last_seen_at, s.last_seen_at), idle = s.idle, expires_at = s.expires_at,
    sweep_at = least(t.sweep_at, greatest(t.last_seen_at, s.last_seen_at) + s.idle, s.expires_at),
    joined = CASE WHEN s.subject IS DISTINCT FROM t.subject THEN s.joined ELSE t.joined END,
    authenticated_at = s.authenticated_at, secret_issued_at = s.secret_issued_at, secret_first_seen_at = s.secret_first_seen_at,
    secret_confirmed_at = s.secret_confirmed_at, secret_until = s.secret_until, level = s.level, secret_login = s.secret_login,
    remembered = s.remembered, stale = s.stale, bearer = s.bearer, until_browser_closes = s.until_browser_closes,
    secret = s.secret, epoch_hash = s.epoch_hash,
    subject = s.subject, amr = s.amr, ip = s.ip, user_agent = s.user_agent,
    last_ip = CASE WHEN t.last_seen_at <= s.last_seen_at THEN s.last_ip
      WHEN (t.ip, t.user_agent) = (s.ip, s.user_agent) THEN t.last_ip ELSE coalesce(t.last_ip, t.ip) END,
    last_user_agent = CASE WHEN t.last_seen_at <= s.last_seen_at THEN s.last_user_agent
      WHEN (t.ip, t.user_agent) = (s.ip, s.user_agent) THEN t.last_user_agent ELSE coalesce(t.last_user_agent, t.user_agent) END,
    former_secrets = s.former_secrets, data = s.data, data_packed = s.data_packed
  WHERE t.app = a.num AND t.id = s.id AND t.revision = s.revision AND t.end_reason IS NULL
    AND (t.created_at <= a.ended_all_at) IS NOT TRUE AND now < least(t.last_seen_at + t.idle, t.expires_at)
    AND (whatever_subject OR t.subject IS NOT DISTINCT FROM s.subject);
  IF FOUND THEN
    INSERT INTO sojourn.changes (app, session, revision, kind) VALUES (a.num, s.id, s.revision + 1, 1);
    RETURN true;
  END IF;
  RETURN false;
END $$;

CREATE FUNCTION sojourn.update_session(app_name text, s sojourn.session, is_login boolean, arrived bigint, now bigint, max_live integer, refuse boolean,
  is_full boolean,
  OUT outcome text, OUT evicted uuid[], OUT expired uuid[], OUT expired_why text[], OUT expired_at bigint[]) LANGUAGE plpgsql SET enable_seqscan = off AS $$
DECLARE
  a     sojourn.apps;
  t     record;
BEGIN
  SELECT * INTO a FROM sojourn.apps WHERE name = app_name;
  IF NOT is_login AND NOT is_full AND sojourn.replace(a, s, now, false) THEN
    outcome := 'done';
    RETURN;
  END IF;
  LOOP -- again if somebody has changed the session between two statements
    SELECT x.subject, x.revision, octet_length(x.data::text) AS size,
      x.end_reason IS NOT NULL OR (x.created_at <= a.ended_all_at) IS TRUE OR now >= least(x.last_seen_at + x.idle, x.expires_at) AS ended
      INTO t FROM sojourn.sessions x WHERE x.app = a.num AND x.id = s.id;
    IF NOT FOUND THEN
      outcome := 'not found';
    ELSIF t.ended THEN
      outcome := 'ended';
    ELSIF t.revision <> s.revision THEN
      outcome := 'conflict';
    ELSIF is_full AND coalesce(octet_length(s.data::text), 0) > coalesce(t.size, 0) THEN
      outcome := 'full';
    END IF;
    IF outcome IS NOT NULL THEN
      RETURN;
    END IF;
    IF s.subject IS NOT NULL AND (is_login OR s.subject IS DISTINCT FROM t.subject) THEN
      a := sojourn.enter_app(app_name);
      PERFORM sojourn.lock_subject(a.num, s.subject);
      SELECT * INTO outcome, evicted, expired, expired_why, expired_at
        FROM sojourn.admit(a, s.subject, s.id, arrived, now, max_live, refuse);
      IF outcome IS NOT NULL THEN
        RETURN;
      END IF;
      s.joined := nextval('sojourn.joins');
    END IF;
    EXIT WHEN sojourn.replace(a, s, now, true);
  END LOOP;
  PERFORM sojourn.bury(a.num, evicted, 'evicted', now);
  PERFORM sojourn.bury(a.num, expired, NULL, NULL);
  outcome := 'done';
END $$;

CREATE FUNCTION sojourn.touch_session(app_name text, session uuid, seen_at bigint, now bigint, seen_ip text, seen_agent text) RETURNS text LANGUAGE plpgsql SET enable_seqscan = off AS $$
DECLARE
  t record;
BEGIN
  LOOP -- again if somebody has changed the session between two statements
    UPDATE sojourn.sessions s SET
      last_seen_at = seen_at,
      last_ip = CASE WHEN (s.ip, s.user_agent) <> (seen_ip, seen_agent) THEN seen_ip END,
      last_user_agent = CASE WHEN (s.ip, s.user_agent) <> (seen_ip, seen_agent) THEN seen_agent END
    FROM sojourn.apps a
    WHERE a.name = app_name AND s.app = a.num AND s.id = session AND s.last_seen_at < seen_at AND s.end_reason IS NULL
      AND (s.created_at <= a.ended_all_at) IS NOT TRUE AND now < least(s.last_seen_at + s.idle, s.expires_at);
    IF FOUND THEN
      RETURN 'done';
    END IF;
    SELECT s.last_seen_at,
      s.end_reason IS NOT NULL OR (s.created_at <= a.ended_all_at) IS TRUE OR now >= least(s.last_seen_at + s.idle, s.expires_at) AS ended
      INTO t FROM sojourn.apps a JOIN sojourn.sessions s ON s.app = a.num WHERE a.name = app_name AND s.id = session;
    IF NOT FOUND THEN
      RETURN 'not found';
    ELSIF t.ended THEN
      RETURN 'ended';
    ELSIF t.last_seen_at >= seen_at THEN
      RETURN 'done';
    END IF;
  END LOOP;
END $$;

-- confirm_session writes a confirmation that the store has computed for the record
-- at a revision, or returns a conflict.
CREATE FUNCTION sojourn.confirm_session(app_name text, session uuid, at_revision bigint, first_seen_at bigint, confirmed_at bigint, former json) RETURNS text LANGUAGE plpgsql SET enable_seqscan = off AS $$
BEGIN
  WITH changed AS (
    UPDATE sojourn.sessions s SET
      revision = s.revision + 1, secret_first_seen_at = first_seen_at, secret_confirmed_at = confirmed_at, former_secrets = former
    FROM sojourn.apps a
    WHERE a.name = app_name AND s.app = a.num AND s.id = session AND s.revision = at_revision AND s.end_reason IS NULL
      AND (s.created_at <= a.ended_all_at) IS NOT TRUE
    RETURNING s.app, s.id, s.revision
  )
  INSERT INTO sojourn.changes (app, session, revision, kind) SELECT c.app, c.id, c.revision, 1 FROM changed c;
  RETURN CASE WHEN FOUND THEN 'done' ELSE 'conflict' END;
END $$;

CREATE FUNCTION sojourn.end_session(app_name text, session uuid, why text, at bigint, OUT outcome text, OUT whose text) LANGUAGE plpgsql SET enable_seqscan = off AS $$
DECLARE
  t record;
BEGIN
  SELECT s.app, s.subject, s.end_reason IS NOT NULL OR (s.created_at <= a.ended_all_at) IS TRUE AS ended INTO t
    FROM sojourn.apps a JOIN sojourn.sessions s ON s.app = a.num WHERE a.name = app_name AND s.id = session FOR NO KEY UPDATE OF s;
  IF NOT FOUND THEN
    outcome := 'not found';
  ELSIF t.ended THEN
    outcome := 'ended before';
  ELSE
    PERFORM sojourn.bury(t.app, ARRAY[session], why, at);
    outcome := 'done';
    whose := t.subject;
  END IF;
END $$;

-- end_subject ends all sessions of a subject except one, and returns their IDs.
CREATE FUNCTION sojourn.end_subject(app_name text, who text, spared uuid, why text, at bigint) RETURNS uuid[] LANGUAGE plpgsql SET enable_seqscan = off AS $$
DECLARE
  a       sojourn.apps := sojourn.need_app(app_name);
  victims uuid[];
BEGIN
  PERFORM sojourn.lock_subject(a.num, who);
  UPDATE sojourn.barriers b SET raised_at = greatest(b.raised_at, at)
    WHERE hashtextextended(b.subject, b.app) = hashtextextended(who, a.num) AND b.app = a.num AND b.subject = who;
  IF NOT FOUND THEN
    INSERT INTO sojourn.barriers (app, subject, raised_at) VALUES (a.num, who, at);
  END IF;
  victims := ARRAY(SELECT s.id FROM sojourn.sessions s
    WHERE hashtextextended(s.subject, s.app) = hashtextextended(who, a.num) AND s.app + 0 = a.num AND s.subject = who AND s.id <> spared
      AND (s.created_at <= a.ended_all_at) IS NOT TRUE
    ORDER BY s.id FOR NO KEY UPDATE);
  PERFORM sojourn.bury(a.num, victims, why, at);
  RETURN victims;
END $$;

CREATE FUNCTION sojourn.end_all(app_name text, at bigint) RETURNS void LANGUAGE plpgsql SET enable_seqscan = off AS $$
DECLARE
  a sojourn.apps;
BEGIN
  PERFORM pg_advisory_xact_lock(hashtextextended(app_name, sojourn.seed(0)));
  a := sojourn.need_app(app_name);
  UPDATE sojourn.apps SET ended_all_at = at, purge_after = '00000000-0000-0000-0000-000000000000'
    WHERE num = a.num AND (ended_all_at >= at) IS NOT TRUE;
  IF FOUND THEN
    INSERT INTO sojourn.changes (app, kind) VALUES (a.num, 3);
  ELSE
    -- A repeated EndAll must wait for the synchronous standby, too. A transaction
    -- that has only read doesn't.
    PERFORM FROM sojourn.apps WHERE num = a.num FOR NO KEY UPDATE;
  END IF;
END $$;

-- The sweep, in four stages. Each call examines up to max_rows rows that no other
-- sweep has locked, and returns how many it found: fewer than max_rows when the
-- stage is over.

-- sweep_due examines sessions whose time has come. It ends the expired ones,
-- postpones those that were active since, and removes old tombstones.
CREATE FUNCTION sojourn.sweep_due(app_name text, now bigint, max_rows integer,
  OUT examined integer, OUT ids uuid[], OUT subjects text[], OUT reasons text[], OUT ats bigint[]) LANGUAGE plpgsql SET enable_seqscan = off AS $$
DECLARE
  app_num integer := (SELECT a.num FROM sojourn.apps a WHERE a.name = app_name);
  r       record;
BEGIN
  examined := 0;
  FOR r IN
    SELECT s.app, s.id, s.subject, s.end_reason, s.last_seen_at + s.idle AS idle_at, s.expires_at,
      CASE WHEN s.created_at <= a.ended_all_at THEN a.ended_all_at END AS mark
    FROM sojourn.sessions s JOIN sojourn.apps a ON a.num = s.app
    WHERE -s.app = -app_num AND s.sweep_at <= now ORDER BY s.sweep_at LIMIT max_rows FOR UPDATE OF s SKIP LOCKED
  LOOP
    examined := examined + 1;
    IF r.end_reason IS NOT NULL OR r.mark + 3600000 < now THEN
      DELETE FROM sojourn.sessions s WHERE s.app = r.app AND s.id = r.id;
    ELSIF r.mark IS NOT NULL THEN
      UPDATE sojourn.sessions s SET sweep_at = r.mark + 3600001 WHERE s.app = r.app AND s.id = r.id;
    ELSIF now < least(r.idle_at, r.expires_at) THEN
      UPDATE sojourn.sessions s SET sweep_at = least(r.idle_at, r.expires_at) WHERE s.app = r.app AND s.id = r.id;
    ELSE
      PERFORM sojourn.bury(r.app, ARRAY[r.id], NULL, NULL);
      ids := ids || r.id;
      subjects := subjects || coalesce(r.subject, '');
      reasons := reasons || CASE WHEN r.idle_at < r.expires_at THEN 'idle' ELSE 'absolute' END;
      ats := ats || least(r.idle_at, r.expires_at);
    END IF;
  END LOOP;
END $$;

-- sweep_ended_all removes the sessions that end_all has ended, an hour later,
-- whatever their deadlines.
CREATE FUNCTION sojourn.sweep_ended_all(app_name text, now bigint, max_rows integer) RETURNS integer LANGUAGE plpgsql SET enable_seqscan = off AS $$
DECLARE
  a    sojourn.apps;
  last uuid;
BEGIN
  SELECT * INTO a FROM sojourn.apps WHERE name = app_name AND purge_after IS NOT NULL AND ended_all_at + 3600000 < now FOR UPDATE SKIP LOCKED;
  IF NOT FOUND THEN
    RETURN 0;
  END IF;
  SELECT s.id INTO last FROM sojourn.sessions s WHERE s.app = a.num AND s.id > a.purge_after ORDER BY s.id OFFSET max_rows - 1 LIMIT 1;
  DELETE FROM sojourn.sessions s
    WHERE s.app = a.num AND s.id > a.purge_after AND s.id <= coalesce(last, 'ffffffff-ffff-ffff-ffff-ffffffffffff')
      AND s.created_at <= a.ended_all_at AND (s.end_reason IS NULL OR s.sweep_at <= now);
  UPDATE sojourn.apps SET purge_after = last WHERE num = a.num; -- NULL after the last
  RETURN max_rows;
END $$;

CREATE FUNCTION sojourn.sweep_barriers(app_name text, now bigint, max_rows integer) RETURNS integer LANGUAGE plpgsql SET enable_seqscan = off AS $$
DECLARE
  app_num integer := (SELECT a.num FROM sojourn.apps a WHERE a.name = app_name);
  n       integer;
BEGIN
  DELETE FROM sojourn.barriers WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM sojourn.barriers WHERE app = app_num AND raised_at < now - 3600000 ORDER BY raised_at LIMIT max_rows FOR UPDATE SKIP LOCKED));
  GET DIAGNOSTICS n = ROW_COUNT;
  RETURN n;
END $$;

CREATE FUNCTION sojourn.sweep_keys(app_name text, now bigint, max_rows integer) RETURNS integer LANGUAGE plpgsql SET enable_seqscan = off AS $$
DECLARE
  app_num integer := (SELECT a.num FROM sojourn.apps a WHERE a.name = app_name);
  n       integer;
BEGIN
  DELETE FROM sojourn.idempotency_keys WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM sojourn.idempotency_keys WHERE -app = -app_num AND created_at < now - 86400000 ORDER BY created_at LIMIT max_rows FOR UPDATE SKIP LOCKED));
  GET DIAGNOSTICS n = ROW_COUNT;
  RETURN n;
END $$;

-- count_sessions reads all rows of the application.
CREATE FUNCTION sojourn.count_sessions(app_name text, OUT sessions bigint, OUT logged_in bigint) LANGUAGE plpgsql STABLE SET enable_seqscan = on AS $$
BEGIN
  SELECT count(*), count(s.subject) INTO sessions, logged_in
    FROM sojourn.apps a JOIN sojourn.sessions s ON s.app = a.num
    WHERE a.name = app_name AND s.end_reason IS NULL AND (s.created_at <= a.ended_all_at) IS NOT TRUE;
END $$;

-- estimated_bytes is the server's estimate of the number of rows, times the
-- average size of a sample.
CREATE FUNCTION sojourn.estimated_bytes() RETURNS bigint LANGUAGE plpgsql STABLE SET enable_seqscan = on AS $$
DECLARE
  pages  bigint := greatest(1, pg_relation_size('sojourn.sessions') / current_setting('block_size')::bigint);
  sample double precision;
BEGIN
  SELECT avg(pg_column_size(s.*)) + 150 INTO sample -- for headers and the indexes
    FROM sojourn.sessions s TABLESAMPLE SYSTEM (least(100, 100.0 * 50 / pages));
  RETURN coalesce(sample * pg_stat_get_live_tuples('sojourn.sessions'::regclass), 0);
END $$;
