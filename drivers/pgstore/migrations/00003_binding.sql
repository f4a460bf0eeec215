-- The key that a session is bound to, as the engine keeps it; NULL: unbound.
ALTER TABLE sojourn.sessions ADD COLUMN binding bytea;

-- The functions with a parameter more write the binding too. Nodes of older
-- versions call those without it, which leave the column as it is.

CREATE FUNCTION sojourn.create_session(app_name text, s sojourn.session, arrived bigint, now bigint, max_live integer, refuse boolean,
  idem_key text, idem_body bytea, is_full boolean, bound bytea,
  OUT outcome text, OUT evicted uuid[], OUT expired uuid[], OUT expired_why text[], OUT expired_at bigint[], OUT existing uuid) LANGUAGE plpgsql SET enable_seqscan = off AS $$
BEGIN
  SELECT c.* INTO outcome, evicted, expired, expired_why, expired_at, existing
    FROM sojourn.create_session(app_name, s, arrived, now, max_live, refuse, idem_key, idem_body, is_full) c;
  IF outcome = 'done' AND bound IS NOT NULL THEN
    UPDATE sojourn.sessions t SET binding = bound
      WHERE t.app = (SELECT a.num FROM sojourn.apps a WHERE a.name = app_name) AND t.id = s.id;
  END IF;
END $$;

CREATE FUNCTION sojourn.update_session(app_name text, s sojourn.session, is_login boolean, arrived bigint, now bigint, max_live integer, refuse boolean,
  is_full boolean, bound bytea,
  OUT outcome text, OUT evicted uuid[], OUT expired uuid[], OUT expired_why text[], OUT expired_at bigint[]) LANGUAGE plpgsql SET enable_seqscan = off AS $$
BEGIN
  SELECT u.* INTO outcome, evicted, expired, expired_why, expired_at
    FROM sojourn.update_session(app_name, s, is_login, arrived, now, max_live, refuse, is_full) u;
  IF outcome = 'done' THEN
    UPDATE sojourn.sessions t SET binding = bound
      WHERE t.app = (SELECT a.num FROM sojourn.apps a WHERE a.name = app_name) AND t.id = s.id AND t.binding IS DISTINCT FROM bound;
  END IF;
END $$;

-- bury as in the migration before, and it drops the binding.
CREATE OR REPLACE FUNCTION sojourn.bury(app_num integer, victims uuid[], why text, at bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  victim uuid;
BEGIN
  FOREACH victim IN ARRAY coalesce(victims, '{}') LOOP
    UPDATE sojourn.sessions s SET
      end_reason = coalesce(why, CASE WHEN s.last_seen_at + s.idle < s.expires_at THEN 'idle' ELSE 'absolute' END),
      ended_at = coalesce(at, least(s.last_seen_at + s.idle, s.expires_at)),
      sweep_at = coalesce(at, least(s.last_seen_at + s.idle, s.expires_at)) + 3600001,
      ended_subject = s.subject,
      ip = CASE WHEN s.subject IS NOT NULL THEN coalesce(s.last_ip, s.ip) END,
      user_agent = CASE WHEN s.subject IS NOT NULL THEN coalesce(s.last_user_agent, s.user_agent) END,
      subject = NULL, joined = NULL, authenticated_at = NULL, amr = NULL,
      last_ip = NULL, last_user_agent = NULL, binding = NULL, data = NULL, data_packed = NULL
    WHERE s.app = app_num AND s.id = victim;
    INSERT INTO sojourn.changes (app, session, kind) VALUES (app_num, victim, 2);
  END LOOP;
END $$;
