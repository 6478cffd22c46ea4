-- Versions of models. What is searched for has a column, the rest is in about.
CREATE TABLE models (
	number   INTEGER PRIMARY KEY CHECK (number > 0),
	revision INTEGER NOT NULL,
	status   TEXT NOT NULL,
	about    TEXT NOT NULL
) STRICT;

CREATE INDEX models_revision ON models (revision);
CREATE UNIQUE INDEX models_live ON models (status) WHERE status = 'live';
CREATE UNIQUE INDEX models_canary ON models (status) WHERE status = 'canary';

-- Their files, apart, so that a list of versions does not read past them. They
-- are dropped before the versions are.
CREATE TABLE model_bodies (
	number INTEGER PRIMARY KEY REFERENCES models (number),
	body   BLOB NOT NULL
) STRICT;

-- One row: the count of changes of models, which is also the revision of what
-- changed.
CREATE TABLE model_changes (
	only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
	revision INTEGER NOT NULL,
	last     INTEGER NOT NULL -- number given
) STRICT;

INSERT INTO model_changes (only_row, revision, last) VALUES (1, 1, 0);
