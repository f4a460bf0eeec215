-- +goose Up

-- The key that a session is bound to, as the engine keeps it; NULL: unbound.
ALTER TABLE sessions ADD COLUMN binding BLOB;
