SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;
CREATE SCHEMA sojourn;
CREATE TYPE sojourn.session AS (
	id uuid,
	created_at bigint,
	revision bigint,
	epoch bigint,
	last_seen_at bigint,
	idle bigint,
	expires_at bigint,
	sweep_at bigint,
	joined bigint,
	authenticated_at bigint,
	ended_at bigint,
	secret_issued_at bigint,
	secret_first_seen_at bigint,
	secret_confirmed_at bigint,
	secret_until bigint,
	app integer,
	level smallint,
	secret_login boolean,
	remembered boolean,
	stale boolean,
	bearer boolean,
	until_browser_closes boolean,
	secret bytea,
	epoch_hash bytea,
	subject text COLLATE pg_catalog."C",
	amr text,
	ip text,
	user_agent text,
	last_ip text,
	last_user_agent text,
	end_reason text,
	former_secrets json,
	data jsonb,
	data_packed bytea
);
SET default_tablespace = '';
SET default_table_access_method = heap;
CREATE TABLE sojourn.apps (
    num integer NOT NULL,
    name text NOT NULL COLLATE pg_catalog."C",
    ended_all_at bigint,
    purge_after uuid
);
CREATE FUNCTION sojourn.admit(a sojourn.apps, who text, self uuid, arrived bigint, now bigint, max_live integer, refuse boolean, OUT refused text, OUT evicted uuid[], OUT expired uuid[], OUT expired_why text[], OUT expired_at bigint[]) RETURNS record
    LANGUAGE plpgsql
    AS $$
DECLARE
  others uuid[];
  other  uuid;
  t      record;
  live   uuid[];
  joined bigint[];
  excess integer;
BEGIN
  PERFORM FROM "sojourn".barriers b
    WHERE hashtextextended(b.subject, b.app) = hashtextextended(who, a.num) AND b.app = a.num AND b.subject = who AND b.raised_at >= arrived;
  IF FOUND OR a.ended_all_at >= arrived THEN
    refused := 'barrier';
    RETURN;
  END IF;
  IF max_live <= 0 THEN
    RETURN;
  END IF;
  others := ARRAY(SELECT s.id FROM "sojourn".sessions s
    WHERE hashtextextended(s.subject, s.app) = hashtextextended(who, a.num) AND s.app + 0 = a.num AND s.subject = who AND s.id <> self);
  IF cardinality(others) < max_live THEN
    RETURN;
  END IF;
  -- Some may have expired. A touch may be moving a deadline, but not while the row
  -- is locked.
  FOREACH other IN ARRAY ARRAY(SELECT unnest(others || self) ORDER BY 1) LOOP
    SELECT s.subject, s.joined, s.created_at <= a.ended_all_at AS marked, s.last_seen_at + s.idle AS idle_at, s.expires_at
      INTO t FROM "sojourn".sessions s WHERE s.app = a.num AND s.id = other FOR NO KEY UPDATE;
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
CREATE FUNCTION sojourn.bury(app_num integer, victims uuid[], why text, at bigint) RETURNS void
    LANGUAGE plpgsql
    AS $$
DECLARE
  victim uuid;
BEGIN
  FOREACH victim IN ARRAY coalesce(victims, '{}') LOOP
    UPDATE "sojourn".sessions s SET
      end_reason = coalesce(why, CASE WHEN s.last_seen_at + s.idle < s.expires_at THEN 'idle' ELSE 'absolute' END),
      ended_at = coalesce(at, least(s.last_seen_at + s.idle, s.expires_at)),
      sweep_at = coalesce(at, least(s.last_seen_at + s.idle, s.expires_at)) + 3600001,
      ended_subject = s.subject,
      ip = CASE WHEN s.subject IS NOT NULL THEN coalesce(s.last_ip, s.ip) END,
      user_agent = CASE WHEN s.subject IS NOT NULL THEN coalesce(s.last_user_agent, s.user_agent) END,
      subject = NULL, joined = NULL, authenticated_at = NULL, amr = NULL,
      last_ip = NULL, last_user_agent = NULL, binding = NULL, data = NULL, data_packed = NULL
    WHERE s.app = app_num AND s.id = victim;
    INSERT INTO "sojourn".changes (app, session, kind) VALUES (app_num, victim, 2);
  END LOOP;
END $$;
CREATE FUNCTION sojourn.confirm_session(app_name text, session uuid, at_revision bigint, first_seen_at bigint, confirmed_at bigint, former json) RETURNS text
    LANGUAGE plpgsql
    SET enable_seqscan TO 'off'
    AS $$
BEGIN
  WITH changed AS (
    UPDATE "sojourn".sessions s SET
      revision = s.revision + 1, secret_first_seen_at = first_seen_at, secret_confirmed_at = confirmed_at, former_secrets = former
    FROM "sojourn".apps a
    WHERE a.name = app_name AND s.app = a.num AND s.id = session AND s.revision = at_revision AND s.end_reason IS NULL
      AND (s.created_at <= a.ended_all_at) IS NOT TRUE
    RETURNING s.app, s.id, s.revision
  )
  INSERT INTO "sojourn".changes (app, session, revision, kind) SELECT c.app, c.id, c.revision, 1 FROM changed c;
  RETURN CASE WHEN FOUND THEN 'done' ELSE 'conflict' END;
END $$;
CREATE FUNCTION sojourn.count_sessions(app_name text, OUT sessions bigint, OUT logged_in bigint) RETURNS record
    LANGUAGE plpgsql STABLE
    SET enable_seqscan TO 'on'
    AS $$
BEGIN
  SELECT count(*), count(s.subject) INTO sessions, logged_in
    FROM "sojourn".apps a JOIN "sojourn".sessions s ON s.app = a.num
    WHERE a.name = app_name AND s.end_reason IS NULL AND (s.created_at <= a.ended_all_at) IS NOT TRUE;
END $$;
CREATE FUNCTION sojourn.create_session(app_name text, s sojourn.session, arrived bigint, now bigint, max_live integer, refuse boolean, idem_key text, idem_body bytea, is_full boolean, OUT outcome text, OUT evicted uuid[], OUT expired uuid[], OUT expired_why text[], OUT expired_at bigint[], OUT existing uuid) RETURNS record
    LANGUAGE plpgsql
    SET enable_seqscan TO 'off'
    AS $$
DECLARE
  a "sojourn".apps := "sojourn".enter_app(app_name);
BEGIN
  IF idem_key IS NOT NULL THEN
    PERFORM pg_advisory_xact_lock(hashtextextended(idem_key, ~"sojourn".seed(a.num)));
    SELECT CASE WHEN k.body = idem_body THEN 'repeated' ELSE 'key reused' END, k.session INTO outcome, existing
      FROM "sojourn".idempotency_keys k WHERE k.app = a.num AND k.key = idem_key AND k.created_at >= now - 86400000;
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
    PERFORM "sojourn".lock_subject(a.num, s.subject);
    SELECT * INTO outcome, evicted, expired, expired_why, expired_at
      FROM "sojourn".admit(a, s.subject, s.id, arrived, now, max_live, refuse);
    IF outcome IS NOT NULL THEN
      RETURN;
    END IF;
    s.joined := nextval('"sojourn".joins');
  END IF;
  s.app := a.num;
  INSERT INTO "sojourn".sessions SELECT s.* ON CONFLICT DO NOTHING;
  IF NOT FOUND THEN
    outcome := 'exists';
    RETURN;
  END IF;
  INSERT INTO "sojourn".changes (app, session, revision, kind) VALUES (a.num, s.id, s.revision, 1);
  IF idem_key IS NOT NULL THEN
    INSERT INTO "sojourn".idempotency_keys (app, key, created_at, session, body) VALUES (a.num, idem_key, now, s.id, idem_body)
      ON CONFLICT (app, key) DO UPDATE SET created_at = excluded.created_at, session = excluded.session, body = excluded.body;
  END IF;
  PERFORM "sojourn".bury(a.num, evicted, 'evicted', now);
  PERFORM "sojourn".bury(a.num, expired, NULL, NULL);
  outcome := 'done';
END $$;
CREATE FUNCTION sojourn.create_session(app_name text, s sojourn.session, arrived bigint, now bigint, max_live integer, refuse boolean, idem_key text, idem_body bytea, is_full boolean, bound bytea, OUT outcome text, OUT evicted uuid[], OUT expired uuid[], OUT expired_why text[], OUT expired_at bigint[], OUT existing uuid) RETURNS record
    LANGUAGE plpgsql
    SET enable_seqscan TO 'off'
    AS $$
BEGIN
  SELECT c.* INTO outcome, evicted, expired, expired_why, expired_at, existing
    FROM "sojourn".create_session(app_name, s, arrived, now, max_live, refuse, idem_key, idem_body, is_full) c;
  IF outcome = 'done' AND bound IS NOT NULL THEN
    UPDATE "sojourn".sessions t SET binding = bound
      WHERE t.app = (SELECT a.num FROM "sojourn".apps a WHERE a.name = app_name) AND t.id = s.id;
  END IF;
END $$;
CREATE FUNCTION sojourn.end_all(app_name text, at bigint) RETURNS void
    LANGUAGE plpgsql
    SET enable_seqscan TO 'off'
    AS $$
DECLARE
  a "sojourn".apps;
BEGIN
  PERFORM pg_advisory_xact_lock(hashtextextended(app_name, "sojourn".seed(0)));
  a := "sojourn".need_app(app_name);
  UPDATE "sojourn".apps SET ended_all_at = at, purge_after = '00000000-0000-0000-0000-000000000000'
    WHERE num = a.num AND (ended_all_at >= at) IS NOT TRUE;
  IF FOUND THEN
    INSERT INTO "sojourn".changes (app, kind) VALUES (a.num, 3);
  ELSE
    -- A repeated EndAll must wait for the synchronous standby, too. A transaction
    -- that has only read doesn't.
    PERFORM FROM "sojourn".apps WHERE num = a.num FOR NO KEY UPDATE;
  END IF;
END $$;
CREATE FUNCTION sojourn.end_session(app_name text, session uuid, why text, at bigint, OUT outcome text, OUT whose text) RETURNS record
    LANGUAGE plpgsql
    SET enable_seqscan TO 'off'
    AS $$
DECLARE
  t record;
BEGIN
  SELECT s.app, s.subject, s.end_reason IS NOT NULL OR (s.created_at <= a.ended_all_at) IS TRUE AS ended INTO t
    FROM "sojourn".apps a JOIN "sojourn".sessions s ON s.app = a.num WHERE a.name = app_name AND s.id = session FOR NO KEY UPDATE OF s;
  IF NOT FOUND THEN
    outcome := 'not found';
  ELSIF t.ended THEN
    outcome := 'ended before';
  ELSE
    PERFORM "sojourn".bury(t.app, ARRAY[session], why, at);
    outcome := 'done';
    whose := t.subject;
  END IF;
END $$;
CREATE FUNCTION sojourn.end_subject(app_name text, who text, spared uuid, why text, at bigint) RETURNS uuid[]
    LANGUAGE plpgsql
    SET enable_seqscan TO 'off'
    AS $$
DECLARE
  a       "sojourn".apps := "sojourn".need_app(app_name);
  victims uuid[];
BEGIN
  PERFORM "sojourn".lock_subject(a.num, who);
  UPDATE "sojourn".barriers b SET raised_at = greatest(b.raised_at, at)
    WHERE hashtextextended(b.subject, b.app) = hashtextextended(who, a.num) AND b.app = a.num AND b.subject = who;
  IF NOT FOUND THEN
    INSERT INTO "sojourn".barriers (app, subject, raised_at) VALUES (a.num, who, at);
  END IF;
  victims := ARRAY(SELECT s.id FROM "sojourn".sessions s
    WHERE hashtextextended(s.subject, s.app) = hashtextextended(who, a.num) AND s.app + 0 = a.num AND s.subject = who AND s.id <> spared
      AND (s.created_at <= a.ended_all_at) IS NOT TRUE
    ORDER BY s.id FOR NO KEY UPDATE);
  PERFORM "sojourn".bury(a.num, victims, why, at);
  RETURN victims;
END $$;
CREATE FUNCTION sojourn.enter_app(app_name text) RETURNS sojourn.apps
    LANGUAGE plpgsql
    AS $$
BEGIN
  PERFORM pg_advisory_xact_lock_shared(hashtextextended(app_name, "sojourn".seed(0)));
  RETURN "sojourn".need_app(app_name);
END $$;
CREATE FUNCTION sojourn.estimated_bytes() RETURNS bigint
    LANGUAGE plpgsql STABLE
    SET enable_seqscan TO 'on'
    AS $$
DECLARE
  pages  bigint := greatest(1, pg_relation_size('"sojourn".sessions') / current_setting('block_size')::bigint);
  sample double precision;
BEGIN
  SELECT avg(pg_column_size(s.*)) + 150 INTO sample -- for headers and the indexes
    FROM "sojourn".sessions s TABLESAMPLE SYSTEM (least(100, 100.0 * 50 / pages));
  RETURN coalesce(sample * pg_stat_get_live_tuples('"sojourn".sessions'::regclass), 0);
END $$;
CREATE FUNCTION sojourn.lock_subject(app_num integer, who text) RETURNS void
    LANGUAGE plpgsql
    AS $$
BEGIN
  IF current_setting('transaction_isolation') <> 'read committed' THEN
    RAISE EXCEPTION 'Sojourn needs the isolation level "read committed"' USING
      HINT = 'Set default_transaction_isolation of the role and the database back.';
  END IF;
  PERFORM pg_advisory_xact_lock(hashtextextended(who, "sojourn".seed(app_num)));
END $$;
CREATE FUNCTION sojourn.need_app(app_name text) RETURNS sojourn.apps
    LANGUAGE plpgsql
    AS $$
DECLARE
  a "sojourn".apps;
BEGIN
  SELECT * INTO a FROM "sojourn".apps WHERE name = app_name;
  IF NOT FOUND THEN
    INSERT INTO "sojourn".apps (name) VALUES (app_name) ON CONFLICT (name) DO NOTHING;
    SELECT * INTO a FROM "sojourn".apps WHERE name = app_name;
  END IF;
  RETURN a;
END $$;
CREATE FUNCTION sojourn.replace(a sojourn.apps, s sojourn.session, now bigint, whatever_subject boolean) RETURNS boolean
    LANGUAGE plpgsql
    AS $$
BEGIN
  UPDATE "sojourn".sessions t SET
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
    INSERT INTO "sojourn".changes (app, session, revision, kind) VALUES (a.num, s.id, s.revision + 1, 1);
    RETURN true;
  END IF;
  RETURN false;
END $$;
CREATE FUNCTION sojourn.seed(app_num integer) RETURNS bigint
    LANGUAGE sql STABLE
    AS $$
  SELECT ('"sojourn".apps'::regclass::oid::bigint << 32) | app_num
$$;
CREATE FUNCTION sojourn.sweep_barriers(app_name text, now bigint, max_rows integer) RETURNS integer
    LANGUAGE plpgsql
    SET enable_seqscan TO 'off'
    AS $$
DECLARE
  app_num integer := (SELECT a.num FROM "sojourn".apps a WHERE a.name = app_name);
  n       integer;
BEGIN
  DELETE FROM "sojourn".barriers WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM "sojourn".barriers WHERE app = app_num AND raised_at < now - 3600000 ORDER BY raised_at LIMIT max_rows FOR UPDATE SKIP LOCKED));
  GET DIAGNOSTICS n = ROW_COUNT;
  RETURN n;
END $$;
CREATE FUNCTION sojourn.sweep_due(app_name text, now bigint, max_rows integer, OUT examined integer, OUT ids uuid[], OUT subjects text[], OUT reasons text[], OUT ats bigint[]) RETURNS record
    LANGUAGE plpgsql
    SET enable_seqscan TO 'off'
    AS $$
DECLARE
  app_num integer := (SELECT a.num FROM "sojourn".apps a WHERE a.name = app_name);
  r       record;
BEGIN
  examined := 0;
  FOR r IN
    SELECT s.app, s.id, s.subject, s.end_reason, s.last_seen_at + s.idle AS idle_at, s.expires_at,
      CASE WHEN s.created_at <= a.ended_all_at THEN a.ended_all_at END AS mark
    FROM "sojourn".sessions s JOIN "sojourn".apps a ON a.num = s.app
    WHERE -s.app = -app_num AND s.sweep_at <= now ORDER BY s.sweep_at LIMIT max_rows FOR UPDATE OF s SKIP LOCKED
  LOOP
    examined := examined + 1;
    IF r.end_reason IS NOT NULL OR r.mark + 3600000 < now THEN
      DELETE FROM "sojourn".sessions s WHERE s.app = r.app AND s.id = r.id;
    ELSIF r.mark IS NOT NULL THEN
      UPDATE "sojourn".sessions s SET sweep_at = r.mark + 3600001 WHERE s.app = r.app AND s.id = r.id;
    ELSIF now < least(r.idle_at, r.expires_at) THEN
      UPDATE "sojourn".sessions s SET sweep_at = least(r.idle_at, r.expires_at) WHERE s.app = r.app AND s.id = r.id;
    ELSE
      PERFORM "sojourn".bury(r.app, ARRAY[r.id], NULL, NULL);
      ids := ids || r.id;
      subjects := subjects || coalesce(r.subject, '');
      reasons := reasons || CASE WHEN r.idle_at < r.expires_at THEN 'idle' ELSE 'absolute' END;
      ats := ats || least(r.idle_at, r.expires_at);
    END IF;
  END LOOP;
END $$;
CREATE FUNCTION sojourn.sweep_ended_all(app_name text, now bigint, max_rows integer) RETURNS integer
    LANGUAGE plpgsql
    SET enable_seqscan TO 'off'
    AS $$
DECLARE
  a    "sojourn".apps;
  last uuid;
BEGIN
  SELECT * INTO a FROM "sojourn".apps WHERE name = app_name AND purge_after IS NOT NULL AND ended_all_at + 3600000 < now FOR UPDATE SKIP LOCKED;
  IF NOT FOUND THEN
    RETURN 0;
  END IF;
  SELECT s.id INTO last FROM "sojourn".sessions s WHERE s.app = a.num AND s.id > a.purge_after ORDER BY s.id OFFSET max_rows - 1 LIMIT 1;
  DELETE FROM "sojourn".sessions s
    WHERE s.app = a.num AND s.id > a.purge_after AND s.id <= coalesce(last, 'ffffffff-ffff-ffff-ffff-ffffffffffff')
      AND s.created_at <= a.ended_all_at AND (s.end_reason IS NULL OR s.sweep_at <= now);
  UPDATE "sojourn".apps SET purge_after = last WHERE num = a.num; -- NULL after the last
  RETURN max_rows;
END $$;
CREATE FUNCTION sojourn.sweep_keys(app_name text, now bigint, max_rows integer) RETURNS integer
    LANGUAGE plpgsql
    SET enable_seqscan TO 'off'
    AS $$
DECLARE
  app_num integer := (SELECT a.num FROM "sojourn".apps a WHERE a.name = app_name);
  n       integer;
BEGIN
  DELETE FROM "sojourn".idempotency_keys WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM "sojourn".idempotency_keys WHERE -app = -app_num AND created_at < now - 86400000 ORDER BY created_at LIMIT max_rows FOR UPDATE SKIP LOCKED));
  GET DIAGNOSTICS n = ROW_COUNT;
  RETURN n;
END $$;
CREATE FUNCTION sojourn.time_of(ms bigint) RETURNS timestamp with time zone
    LANGUAGE sql IMMUTABLE
    AS $$
  SELECT CASE WHEN ms BETWEEN 1 AND 253402300799999 THEN to_timestamp(ms / 1000.0) END
$$;
CREATE FUNCTION sojourn.touch_session(app_name text, session uuid, seen_at bigint, now bigint, seen_ip text, seen_agent text) RETURNS text
    LANGUAGE plpgsql
    SET enable_seqscan TO 'off'
    AS $$
DECLARE
  t record;
BEGIN
  LOOP -- again if somebody has changed the session between two statements
    UPDATE "sojourn".sessions s SET
      last_seen_at = seen_at,
      last_ip = CASE WHEN (s.ip, s.user_agent) <> (seen_ip, seen_agent) THEN seen_ip END,
      last_user_agent = CASE WHEN (s.ip, s.user_agent) <> (seen_ip, seen_agent) THEN seen_agent END
    FROM "sojourn".apps a
    WHERE a.name = app_name AND s.app = a.num AND s.id = session AND s.last_seen_at < seen_at AND s.end_reason IS NULL
      AND (s.created_at <= a.ended_all_at) IS NOT TRUE AND now < least(s.last_seen_at + s.idle, s.expires_at);
    IF FOUND THEN
      RETURN 'done';
    END IF;
    SELECT s.last_seen_at,
      s.end_reason IS NOT NULL OR (s.created_at <= a.ended_all_at) IS TRUE OR now >= least(s.last_seen_at + s.idle, s.expires_at) AS ended
      INTO t FROM "sojourn".apps a JOIN "sojourn".sessions s ON s.app = a.num WHERE a.name = app_name AND s.id = session;
    IF NOT FOUND THEN
      RETURN 'not found';
    ELSIF t.ended THEN
      RETURN 'ended';
    ELSIF t.last_seen_at >= seen_at THEN
      RETURN 'done';
    END IF;
  END LOOP;
END $$;
CREATE FUNCTION sojourn.update_session(app_name text, s sojourn.session, is_login boolean, arrived bigint, now bigint, max_live integer, refuse boolean, is_full boolean, OUT outcome text, OUT evicted uuid[], OUT expired uuid[], OUT expired_why text[], OUT expired_at bigint[]) RETURNS record
    LANGUAGE plpgsql
    SET enable_seqscan TO 'off'
    AS $$
DECLARE
  a     "sojourn".apps;
  t     record;
BEGIN
  SELECT * INTO a FROM "sojourn".apps WHERE name = app_name;
  IF NOT is_login AND NOT is_full AND "sojourn".replace(a, s, now, false) THEN
    outcome := 'done';
    RETURN;
  END IF;
  LOOP -- again if somebody has changed the session between two statements
    SELECT x.subject, x.revision, octet_length(x.data::text) AS size,
      x.end_reason IS NOT NULL OR (x.created_at <= a.ended_all_at) IS TRUE OR now >= least(x.last_seen_at + x.idle, x.expires_at) AS ended
      INTO t FROM "sojourn".sessions x WHERE x.app = a.num AND x.id = s.id;
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
      a := "sojourn".enter_app(app_name);
      PERFORM "sojourn".lock_subject(a.num, s.subject);
      SELECT * INTO outcome, evicted, expired, expired_why, expired_at
        FROM "sojourn".admit(a, s.subject, s.id, arrived, now, max_live, refuse);
      IF outcome IS NOT NULL THEN
        RETURN;
      END IF;
      s.joined := nextval('"sojourn".joins');
    END IF;
    EXIT WHEN "sojourn".replace(a, s, now, true);
  END LOOP;
  PERFORM "sojourn".bury(a.num, evicted, 'evicted', now);
  PERFORM "sojourn".bury(a.num, expired, NULL, NULL);
  outcome := 'done';
END $$;
CREATE FUNCTION sojourn.update_session(app_name text, s sojourn.session, is_login boolean, arrived bigint, now bigint, max_live integer, refuse boolean, is_full boolean, bound bytea, OUT outcome text, OUT evicted uuid[], OUT expired uuid[], OUT expired_why text[], OUT expired_at bigint[]) RETURNS record
    LANGUAGE plpgsql
    SET enable_seqscan TO 'off'
    AS $$
BEGIN
  SELECT u.* INTO outcome, evicted, expired, expired_why, expired_at
    FROM "sojourn".update_session(app_name, s, is_login, arrived, now, max_live, refuse, is_full) u;
  IF outcome = 'done' THEN
    UPDATE "sojourn".sessions t SET binding = bound
      WHERE t.app = (SELECT a.num FROM "sojourn".apps a WHERE a.name = app_name) AND t.id = s.id AND t.binding IS DISTINCT FROM bound;
  END IF;
END $$;
ALTER TABLE sojourn.apps ALTER COLUMN num ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME sojourn.apps_num_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE sojourn.barriers (
    app integer NOT NULL,
    raised_at bigint NOT NULL,
    subject text NOT NULL COLLATE pg_catalog."C"
);
CREATE SEQUENCE sojourn.changes_order
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
CREATE UNLOGGED TABLE sojourn.changes (
    xid xid8 DEFAULT pg_current_xact_id() NOT NULL,
    seq bigint DEFAULT nextval('sojourn.changes_order'::regclass) NOT NULL,
    revision bigint,
    session uuid,
    app integer NOT NULL,
    kind smallint NOT NULL
)
WITH (autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='20000', autovacuum_vacuum_insert_scale_factor='0', autovacuum_vacuum_insert_threshold='-1');
CREATE UNLOGGED TABLE sojourn.changes_life (
    id uuid NOT NULL
);
CREATE TABLE sojourn.goose_db_version (
    id integer NOT NULL,
    version_id bigint NOT NULL,
    is_applied boolean NOT NULL,
    tstamp timestamp without time zone DEFAULT now() NOT NULL
);
ALTER TABLE sojourn.goose_db_version ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME sojourn.goose_db_version_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE sojourn.idempotency_keys (
    app integer NOT NULL,
    key text NOT NULL COLLATE pg_catalog."C",
    created_at bigint NOT NULL,
    session uuid NOT NULL,
    body bytea NOT NULL
);
CREATE SEQUENCE sojourn.joins
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
CREATE TABLE sojourn.sessions (
    id uuid NOT NULL,
    created_at bigint NOT NULL,
    revision bigint NOT NULL,
    epoch bigint NOT NULL,
    last_seen_at bigint NOT NULL,
    idle bigint NOT NULL,
    expires_at bigint NOT NULL,
    sweep_at bigint NOT NULL,
    joined bigint,
    authenticated_at bigint,
    ended_at bigint,
    secret_issued_at bigint,
    secret_first_seen_at bigint,
    secret_confirmed_at bigint,
    secret_until bigint,
    app integer NOT NULL,
    level smallint NOT NULL,
    secret_login boolean NOT NULL,
    remembered boolean NOT NULL,
    stale boolean NOT NULL,
    bearer boolean NOT NULL,
    until_browser_closes boolean NOT NULL,
    secret bytea,
    epoch_hash bytea,
    subject text COLLATE pg_catalog."C",
    amr text,
    ip text,
    user_agent text,
    last_ip text,
    last_user_agent text,
    end_reason text,
    former_secrets json,
    data jsonb,
    data_packed bytea,
    ended_subject text COLLATE pg_catalog."C",
    binding bytea
)
WITH (fillfactor='90', autovacuum_vacuum_scale_factor='0.05');
CREATE VIEW sojourn.session_list AS
 SELECT a.name AS app,
    s.id,
    s.subject,
        CASE
            WHEN (s.end_reason IS NOT NULL) THEN s.end_reason
            WHEN (s.created_at <= a.ended_all_at) THEN 'revoked'::text
            ELSE 'live'::text
        END AS state,
    sojourn.time_of(s.created_at) AS created_at,
    sojourn.time_of(s.authenticated_at) AS authenticated_at,
    sojourn.time_of(s.last_seen_at) AS last_seen_at,
    sojourn.time_of(LEAST((s.last_seen_at + s.idle), s.expires_at)) AS expires_at,
    sojourn.time_of(s.ended_at) AS ended_at,
    s.amr,
    s.level,
    s.remembered,
    COALESCE(s.last_ip, s.ip) AS ip,
    COALESCE(s.last_user_agent, s.user_agent) AS user_agent,
    s.revision,
    s.data AS "values"
   FROM (sojourn.sessions s
     JOIN sojourn.apps a ON ((a.num = s.app)));
INSERT INTO sojourn.apps OVERRIDING SYSTEM VALUE VALUES (1, 'shop', NULL, NULL);
INSERT INTO sojourn.apps OVERRIDING SYSTEM VALUE VALUES (2, 'closed', 1795975200000, '00000000-0000-0000-0000-000000000000');
INSERT INTO sojourn.barriers VALUES (1, 1795975200000, 'eve');
INSERT INTO sojourn.goose_db_version VALUES (1, 0, true, '2026-11-30 02:11:48.278414');
INSERT INTO sojourn.goose_db_version VALUES (2, 1, true, '2026-11-30 02:11:48.294169');
INSERT INTO sojourn.goose_db_version VALUES (3, 2, true, '2026-11-30 02:11:48.381785');
INSERT INTO sojourn.goose_db_version VALUES (4, 3, true, '2026-11-30 02:11:48.404534');
INSERT INTO sojourn.idempotency_keys VALUES (1, 'key', 1795975200000, '019ad000-0001-7000-0000-000000000001', '\x0101010101010101010101010101010101010101010101010101010101010101');
INSERT INTO sojourn.sessions VALUES ('019ad000-0001-7000-0000-000000000001', 1795888800000, 1, 3, 1795975140000, 3153600000000, 4949575200000, 4949575140000, 1, 1795971600000, NULL, 1795971600000, 1795972200000, 1795972800000, NULL, 1, 2, true, true, true, true, true, '\x0101010101010101010101010101010101010101010101010101010101010101', '\x0404040404040404040404040404040404040404040404040404040404040404', 'ada\\x "ü"', 'pwd otp', '192.0.2.7', 'Mozilla/5.0 "\\\x80', '2001:db8::7', 'curl', NULL, '{"good":[{"hash":"AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=","issued_at":1795971600000,"first_seen_at":1795972200000,"confirmed_at":1795972800000,"until":1795975260000,"login":true}],"spent":[{"print":"AwMDAwMDAwM=","until":1795975200000}],"spent_till":1795975200000,"epochs":["BQUFBQUFBQU=","BgYGBgYGBgY="],"halves":["BwcHBwcHBwc="]}', '{"cart": {"items": [1, 2.50, "ü", null]}, "language": "de"}', NULL, NULL, NULL);
INSERT INTO sojourn.sessions VALUES ('019ad000-0002-7000-0000-000000000002', 1795975200000, 1, 0, 1795975200000, 3153600000000, 4949575200000, 4949575200000, NULL, NULL, NULL, 1795975200000, NULL, 1795975200000, NULL, 1, 0, false, false, false, false, false, '\x0808080808080808080808080808080808080808080808080808080808080808', '\x0909090909090909090909090909090909090909090909090909090909090909', NULL, NULL, '', '', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO sojourn.sessions VALUES ('019ad000-0007-7000-0000-000000000007', 1795975200000, 1, 0, 1795975200000, 3153600000000, 4949575200000, 4949575200000, 2, NULL, NULL, 1795975200000, NULL, 1795975200000, NULL, 1, 0, false, false, false, false, false, '\x0707070707070707070707070707070707070707070707070707070707070707', '\x0909090909090909090909090909090909090909090909090909090909090909', 'cleo', NULL, '', '', NULL, NULL, NULL, NULL, NULL, NULL, NULL, '\x00ff5c78226b657900ff5c78226b657900ff5c78226b657900ff5c78226b657900ff5c78226b657900ff5c78226b657900ff5c78226b657900ff5c78226b657900ff5c78226b657900ff5c78226b657900ff5c78226b657900ff5c78226b657900ff5c78226b657900ff5c78226b657900ff5c78226b657900ff5c78226b657900ff5c78226b657900ff5c78226b657900ff5c78226b657900ff5c78226b657900ff5c78226b657900ff5c78226b657900ff5c78226b657900ff5c78226b657900ff5c78226b657900ff5c78226b657900ff5c78226b657900ff5c78226b657900ff5c78226b657900ff5c78226b657900ff5c78226b657900ff5c78226b657900ff5c78226b657900ff5c78226b657900ff5c78226b657900ff5c78226b657900ff5c78226b657900ff5c78226b657900ff5c78226b657900ff5c78226b6579');
INSERT INTO sojourn.sessions VALUES ('019ad000-0005-7000-0000-000000000005', 1795975200000, 1, 0, 1795975200000, 3153600000000, 4949575200000, 4949575200000, 5, NULL, NULL, 1795975200000, NULL, 1795975200000, NULL, 2, 0, false, false, false, false, false, '\x0505050505050505050505050505050505050505050505050505050505050505', '\x0909090909090909090909090909090909090909090909090909090909090909', 'ada', NULL, '', '', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO sojourn.sessions VALUES ('019ad000-0003-7000-0000-000000000003', 1795975200000, 1, 0, 1795975200000, 3153600000000, 4949575200000, 1795978800001, NULL, NULL, 1795975200000, 1795975200000, NULL, 1795975200000, NULL, 1, 0, false, false, false, false, false, '\x0303030303030303030303030303030303030303030303030303030303030303', '\x0909090909090909090909090909090909090909090909090909090909090909', NULL, NULL, '', '', NULL, NULL, 'theft', NULL, NULL, NULL, 'bob', NULL);
INSERT INTO sojourn.sessions VALUES ('019ad000-0004-7000-0000-000000000004', 1795975200000, 1, 0, 1795975200000, 3153600000000, 4949575200000, 1795978800001, NULL, NULL, 1795975200000, 1795975200000, NULL, 1795975200000, NULL, 1, 0, false, false, false, false, false, '\x0404040404040404040404040404040404040404040404040404040404040404', '\x0909090909090909090909090909090909090909090909090909090909090909', NULL, NULL, '', '', NULL, NULL, 'revoked', NULL, NULL, NULL, 'eve', NULL);
SELECT pg_catalog.setval('sojourn.apps_num_seq', 2, true);
SELECT pg_catalog.setval('sojourn.goose_db_version_id_seq', 4, true);
SELECT pg_catalog.setval('sojourn.joins', 5, true);
ALTER TABLE ONLY sojourn.apps
    ADD CONSTRAINT apps_name_key UNIQUE (name);
ALTER TABLE ONLY sojourn.apps
    ADD CONSTRAINT apps_pkey PRIMARY KEY (num);
ALTER TABLE ONLY sojourn.changes_life
    ADD CONSTRAINT changes_life_pkey PRIMARY KEY (id);
ALTER TABLE ONLY sojourn.goose_db_version
    ADD CONSTRAINT goose_db_version_pkey PRIMARY KEY (id);
ALTER TABLE ONLY sojourn.idempotency_keys
    ADD CONSTRAINT idempotency_keys_pkey PRIMARY KEY (app, key);
ALTER TABLE ONLY sojourn.sessions
    ADD CONSTRAINT sessions_pkey PRIMARY KEY (app, id);
CREATE INDEX barriers_by_subject ON sojourn.barriers USING btree (hashtextextended(subject, (app)::bigint));
CREATE INDEX barriers_by_time ON sojourn.barriers USING btree (app, raised_at);
CREATE INDEX changes_by_xid ON sojourn.changes USING btree (xid);
CREATE INDEX idempotency_keys_by_time ON sojourn.idempotency_keys USING btree (((- app)), created_at);
CREATE INDEX sessions_by_end ON sojourn.sessions USING btree (hashtextextended(ended_subject, (app)::bigint), ended_at) WHERE (ended_subject IS NOT NULL);
CREATE INDEX sessions_by_subject ON sojourn.sessions USING btree (hashtextextended(subject, (app)::bigint), id) WHERE (subject IS NOT NULL);
CREATE INDEX sessions_by_sweep ON sojourn.sessions USING btree (((- app)), sweep_at);
