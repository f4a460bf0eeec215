-- A tombstone keeps whose session it was, and the client that was seen last (in ip
-- and user_agent), so that users can be told what ended lately. NULL: the session
-- lives, was anonymous, or was ended by ended_all_at.
ALTER TABLE sojourn.sessions ADD COLUMN ended_subject text COLLATE "C";

CREATE INDEX sessions_by_end ON sojourn.sessions (hashtextextended(ended_subject, app), ended_at) WHERE ended_subject IS NOT NULL;

-- bury turns sessions that have not ended into tombstones. The caller has locked
-- their rows. A tombstone keeps the hashes that recognise its tokens; the store
-- turns them into fingerprints when it reads them. Without a reason, a session
-- ends by its deadline.
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
      last_ip = NULL, last_user_agent = NULL, data = NULL, data_packed = NULL
    WHERE s.app = app_num AND s.id = victim;
    INSERT INTO sojourn.changes (app, session, kind) VALUES (app_num, victim, 2);
  END LOOP;
END $$;
