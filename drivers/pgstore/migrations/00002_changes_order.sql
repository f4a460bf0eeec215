-- The numbers of changes come from a sequence that is logged. That of an identity column is unlogged like its table, and PostgreSQL 15 and newer may find
-- such a one damaged on a standby that was promoted ("bad magic number in sequence"): then no session could be made or changed.
CREATE SEQUENCE sojourn.changes_order;
ALTER TABLE sojourn.changes ALTER COLUMN seq DROP IDENTITY;
ALTER TABLE sojourn.changes ALTER COLUMN seq SET DEFAULT nextval('sojourn.changes_order');
SELECT setval('sojourn.changes_order', (SELECT coalesce(max(seq), 0) + 1 FROM sojourn.changes));
