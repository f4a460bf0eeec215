-- An EndAll that is asked for again, since nobody knows what became of the first, must wait for the synchronous standby too.
CREATE OR REPLACE FUNCTION sojourn.end_all(app_name text, at bigint) RETURNS void LANGUAGE plpgsql SET enable_seqscan = off AS $$
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
    PERFORM FROM sojourn.apps WHERE num = a.num FOR NO KEY UPDATE; -- a transaction that has only read waits for nobody
  END IF;
END $$;
