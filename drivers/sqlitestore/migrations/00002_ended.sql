-- +goose Up

-- A tombstone keeps whose session it was, and the client that was seen last (in
-- ip and user_agent), so that users can be told what ended lately.
ALTER TABLE sessions ADD COLUMN ended_subject TEXT; -- NULL: the session lives, was anonymous, or was ended by ended_all_at

CREATE INDEX sessions_by_end ON sessions (app, ended_subject, ended_at, id) WHERE ended_subject IS NOT NULL;
