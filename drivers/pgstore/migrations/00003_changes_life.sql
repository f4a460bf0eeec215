-- What empties the table of changes, a crash or a failover, empties this one too: a feed that finds another row than before has lost changes, even
-- if a pooler has kept its connection. Who finds no row makes one.
CREATE UNLOGGED TABLE sojourn.changes_life (id uuid PRIMARY KEY);
