-- One row: which publication of a trainer there is, counted, and up to when (in
-- nanoseconds) it knows all that happened. That changes without the body, which
-- is therefore apart.
CREATE TABLE publication (
	only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
	revision INTEGER NOT NULL,
	as_of    INTEGER NOT NULL
) STRICT;

INSERT INTO publication (only_row, revision, as_of) VALUES (1, 0, 0);

-- One row, or none before the first publication.
CREATE TABLE publication_body (
	only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
	body     BLOB NOT NULL
) STRICT;
