-- "SHOP": distinguishes the file from those of other programs.
PRAGMA application_id = 1397247824;
PRAGMA user_version = 3;

CREATE TABLE IF NOT EXISTS users (
  id            TEXT PRIMARY KEY,
  email         TEXT NOT NULL UNIQUE,
  password_hash TEXT NOT NULL,              -- argon2id, as a PHC string
  cart          TEXT NOT NULL DEFAULT '[]', -- JSON
  cart_session  TEXT NOT NULL DEFAULT '',   -- the session that the cart is from, and its revision
  cart_revision INTEGER NOT NULL DEFAULT 0,
  theme         TEXT NOT NULL DEFAULT '',
  theme_at      INTEGER NOT NULL DEFAULT 0, -- when it was chosen, in milliseconds since 1970
  language      TEXT NOT NULL DEFAULT '',
  language_at   INTEGER NOT NULL DEFAULT 0,
  not_before    INTEGER NOT NULL DEFAULT 0  -- sessions that signed in earlier have ended; in microseconds since 1970
) STRICT;
