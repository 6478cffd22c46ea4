-- What the experiment report has read of the log. The keys are its own.
CREATE TABLE report_rows (
	key   BLOB PRIMARY KEY,
	value BLOB NOT NULL
) STRICT, WITHOUT ROWID;
