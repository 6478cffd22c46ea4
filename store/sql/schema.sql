CREATE TABLE documents (
	kind    TEXT NOT NULL,
	id      TEXT NOT NULL,
	number  INTEGER NOT NULL CHECK (number > 0),
	version INTEGER NOT NULL,
	body    BLOB NOT NULL,
	PRIMARY KEY (kind, id)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX documents_number ON documents (kind, number);

-- The last number given to a document of each kind. A row outlives every
-- document, so that no number is given twice.
CREATE TABLE numbers (
	kind TEXT PRIMARY KEY,
	last INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- One row: the count of changes, which is also the version of what changed.
CREATE TABLE changes (
	only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
	version  INTEGER NOT NULL
) STRICT;

INSERT INTO changes (only_row, version) VALUES (1, 1);
