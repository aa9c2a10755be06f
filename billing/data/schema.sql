CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);

CREATE TABLE attempts (
	request_id VARCHAR NOT NULL, 
	id VARCHAR NOT NULL, 
	posted_ms BIGINT NOT NULL, 
	model VARCHAR NOT NULL, 
	upstream VARCHAR NOT NULL, 
	status INTEGER NOT NULL, 
	outcome VARCHAR NOT NULL, 
	ttft_ms FLOAT, 
	duration_ms FLOAT NOT NULL, 
	provider_id VARCHAR, 
	usage BLOB, 
	PRIMARY KEY (request_id, id)
)
 WITHOUT ROWID

;

CREATE TABLE closings (
	seq INTEGER NOT NULL, 
	month VARCHAR NOT NULL, 
	from_ms BIGINT NOT NULL, 
	until_ms BIGINT NOT NULL, 
	closed_ms BIGINT NOT NULL, 
	requests BIGINT NOT NULL, 
	cost_nano BIGINT NOT NULL, 
	corrected_nano BIGINT NOT NULL, 
	head_seq BIGINT NOT NULL, 
	digest BLOB NOT NULL, 
	PRIMARY KEY (seq)
);

CREATE TABLE corrections (
	seq INTEGER NOT NULL, 
	reconciliation INTEGER NOT NULL, 
	posted_ms BIGINT NOT NULL, 
	at_ms BIGINT NOT NULL, 
	account VARCHAR NOT NULL, 
	day VARCHAR NOT NULL, 
	kind VARCHAR NOT NULL, 
	request_id VARCHAR, 
	team VARCHAR, 
	project VARCHAR, 
	"key" VARCHAR, 
	model VARCHAR, 
	amount_nano BIGINT NOT NULL, 
	reason VARCHAR NOT NULL, 
	note VARCHAR, 
	PRIMARY KEY (seq)
);

CREATE TABLE facets (
	id INTEGER NOT NULL, 
	cube INTEGER NOT NULL, 
	team VARCHAR DEFAULT '' NOT NULL, 
	project VARCHAR DEFAULT '' NOT NULL, 
	"key" VARCHAR DEFAULT '' NOT NULL, 
	user VARCHAR DEFAULT '' NOT NULL, 
	requested_model VARCHAR DEFAULT '' NOT NULL, 
	served_model VARCHAR DEFAULT '' NOT NULL, 
	tier VARCHAR DEFAULT '' NOT NULL, 
	upstream VARCHAR DEFAULT '' NOT NULL, 
	action VARCHAR DEFAULT '' NOT NULL, 
	arm VARCHAR DEFAULT '' NOT NULL, 
	state VARCHAR DEFAULT '' NOT NULL, 
	usage_source VARCHAR DEFAULT '' NOT NULL, 
	has_session VARCHAR DEFAULT '' NOT NULL, 
	has_task VARCHAR DEFAULT '' NOT NULL, 
	PRIMARY KEY (id)
);

CREATE TABLE facts (
	name VARCHAR NOT NULL, 
	value VARCHAR NOT NULL, 
	PRIMARY KEY (name)
);

CREATE TABLE grants (
	id VARCHAR NOT NULL, 
	node VARCHAR NOT NULL, 
	budget VARCHAR NOT NULL, 
	amount_nano BIGINT NOT NULL, 
	from_ms BIGINT NOT NULL, 
	until_ms BIGINT NOT NULL, 
	granted_by VARCHAR NOT NULL, 
	reason VARCHAR NOT NULL, 
	PRIMARY KEY (id)
);

CREATE TABLE holds (
	request_id VARCHAR NOT NULL, 
	at_ms BIGINT NOT NULL, 
	amount_nano BIGINT NOT NULL, 
	team VARCHAR NOT NULL, 
	body BLOB NOT NULL, writer VARCHAR DEFAULT '' NOT NULL, 
	PRIMARY KEY (request_id)
);

CREATE TABLE lines (
	request_id VARCHAR NOT NULL, 
	attempt VARCHAR NOT NULL, 
	component VARCHAR NOT NULL, 
	revision INTEGER NOT NULL, 
	posted_ms BIGINT NOT NULL, 
	quantity BIGINT NOT NULL, 
	rate VARCHAR NOT NULL, 
	amount_nano BIGINT NOT NULL, 
	price_book VARCHAR NOT NULL, 
	rule VARCHAR NOT NULL, 
	reverses INTEGER, 
	PRIMARY KEY (request_id, attempt, component, revision)
)
 WITHOUT ROWID

;

CREATE TABLE notices (
	name VARCHAR NOT NULL, 
	at_ms BIGINT NOT NULL, 
	PRIMARY KEY (name)
);

CREATE TABLE outcomes (
	seq INTEGER NOT NULL, 
	at_ms BIGINT NOT NULL, 
	team VARCHAR NOT NULL, 
	task VARCHAR NOT NULL, 
	outcome VARCHAR NOT NULL, 
	value VARCHAR, 
	"key" VARCHAR NOT NULL, 
	PRIMARY KEY (seq)
);

CREATE TABLE positions (
	writer VARCHAR NOT NULL, 
	number BIGINT NOT NULL, 
	"offset" BIGINT NOT NULL, 
	PRIMARY KEY (writer)
);

CREATE TABLE receipts (
	seq INTEGER NOT NULL, 
	request_id VARCHAR NOT NULL, 
	posted_ms BIGINT NOT NULL, 
	at_ms BIGINT NOT NULL, 
	team VARCHAR NOT NULL, 
	project VARCHAR, 
	"key" VARCHAR NOT NULL, 
	user VARCHAR, 
	session VARCHAR, 
	session_key VARCHAR, 
	task VARCHAR, 
	requested_model VARCHAR NOT NULL, 
	served_model VARCHAR NOT NULL, 
	tier VARCHAR NOT NULL, 
	upstream VARCHAR NOT NULL, 
	action VARCHAR NOT NULL, 
	arm VARCHAR NOT NULL, 
	status INTEGER NOT NULL, 
	state VARCHAR NOT NULL, 
	usage_source VARCHAR NOT NULL, 
	original_prompt_tokens BIGINT NOT NULL, 
	sent_prompt_tokens BIGINT NOT NULL, 
	prompt_tokens BIGINT NOT NULL, 
	completion_tokens BIGINT NOT NULL, 
	cached_tokens BIGINT NOT NULL, 
	reasoning_tokens BIGINT NOT NULL, 
	effective_tokens BIGINT NOT NULL, 
	billed_tokens BIGINT NOT NULL, 
	cost_nano BIGINT NOT NULL, 
	gateway_cost_nano BIGINT NOT NULL, 
	baseline_nano BIGINT, 
	baseline_model VARCHAR NOT NULL, 
	waste_nano BIGINT NOT NULL, 
	hold_nano BIGINT NOT NULL, 
	overhead_ms FLOAT NOT NULL, 
	policy_hash VARCHAR NOT NULL, 
	prices_hash VARCHAR NOT NULL, 
	catalog_hash VARCHAR NOT NULL, 
	body BLOB NOT NULL, 
	chain BLOB NOT NULL, writer VARCHAR DEFAULT '' NOT NULL, saved_trim_nano BIGINT, saved_model_nano BIGINT, saved_cache_nano BIGINT, saved_retries_nano BIGINT, 
	PRIMARY KEY (seq)
);

CREATE TABLE reconciliations (
	seq INTEGER NOT NULL, 
	at_ms BIGINT NOT NULL, 
	account VARCHAR NOT NULL, 
	day VARCHAR NOT NULL, 
	source VARCHAR NOT NULL, 
	theirs_nano BIGINT NOT NULL, 
	ours_nano BIGINT NOT NULL, 
	booked_nano BIGINT NOT NULL, 
	reasons VARCHAR NOT NULL, 
	PRIMARY KEY (seq)
);

CREATE TABLE replies (
	owner VARCHAR NOT NULL, 
	name VARCHAR NOT NULL, 
	body_hash BLOB NOT NULL, 
	request_id VARCHAR NOT NULL, 
	process VARCHAR NOT NULL, 
	at_ms BIGINT NOT NULL, 
	expires_ms BIGINT NOT NULL, 
	status INTEGER, 
	sealed BLOB, 
	PRIMARY KEY (owner, name)
);

CREATE TABLE rollups (
	cube BIGINT NOT NULL, 
	width_ms BIGINT NOT NULL, 
	bucket BIGINT NOT NULL, 
	facet BIGINT NOT NULL, 
	requests BIGINT NOT NULL, 
	original_prompt_tokens BIGINT NOT NULL, 
	sent_prompt_tokens BIGINT NOT NULL, 
	prompt_tokens BIGINT NOT NULL, 
	completion_tokens BIGINT NOT NULL, 
	cached_tokens BIGINT NOT NULL, 
	effective_tokens BIGINT NOT NULL, 
	cost_nano BIGINT NOT NULL, 
	gateway_cost_nano BIGINT NOT NULL, 
	waste_nano BIGINT NOT NULL, 
	baseline_nano BIGINT NOT NULL, 
	compared_nano BIGINT NOT NULL, 
	infeasible BIGINT NOT NULL, 
	estimated BIGINT NOT NULL, 
	saved_trim_nano BIGINT NOT NULL, 
	saved_model_nano BIGINT NOT NULL, 
	saved_cache_nano BIGINT NOT NULL, 
	saved_retries_nano BIGINT NOT NULL, 
	parted_gateway_nano BIGINT NOT NULL, 
	PRIMARY KEY (cube, width_ms, bucket, facet)
)
 WITHOUT ROWID

;

CREATE TABLE session_moments (
	cube BIGINT NOT NULL, 
	facet BIGINT NOT NULL, 
	block BIGINT NOT NULL, 
	count BIGINT NOT NULL, 
	paid_nano BIGINT NOT NULL, 
	tokenmaxxed_nano BIGINT NOT NULL, 
	squares_high BIGINT NOT NULL, 
	squares_both BIGINT NOT NULL, 
	squares_low BIGINT NOT NULL, 
	known BIGINT NOT NULL, 
	accepted BIGINT NOT NULL, 
	PRIMARY KEY (cube, facet, block)
)
 WITHOUT ROWID

;

CREATE TABLE session_totals (
	cube BIGINT NOT NULL, 
	session VARCHAR NOT NULL, 
	model VARCHAR NOT NULL, 
	keyed BIGINT NOT NULL, 
	facet BIGINT NOT NULL, 
	first BIGINT NOT NULL, 
	last BIGINT NOT NULL, 
	span BIGINT NOT NULL, 
	accepted INTEGER, 
	requests BIGINT NOT NULL, 
	infeasible BIGINT NOT NULL, 
	compared_nano BIGINT NOT NULL, 
	baseline_nano BIGINT NOT NULL, 
	cost_nano BIGINT NOT NULL, 
	PRIMARY KEY (cube, session, model)
)
 WITHOUT ROWID

;

CREATE TABLE slices (
	cube BIGINT NOT NULL, 
	session VARCHAR NOT NULL, 
	keyed BIGINT NOT NULL, 
	arm VARCHAR NOT NULL, 
	facet BIGINT NOT NULL, 
	goal VARCHAR NOT NULL, 
	named BIGINT NOT NULL, 
	bucket BIGINT NOT NULL, 
	accepted INTEGER, 
	requests BIGINT NOT NULL, 
	infeasible BIGINT NOT NULL, 
	compared_nano BIGINT NOT NULL, 
	baseline_nano BIGINT NOT NULL, 
	cost_nano BIGINT NOT NULL, 
	original_prompt_tokens BIGINT NOT NULL, 
	sent_prompt_tokens BIGINT NOT NULL, 
	prompt_tokens BIGINT NOT NULL, 
	completion_tokens BIGINT NOT NULL, 
	cached_tokens BIGINT NOT NULL, 
	effective_tokens BIGINT NOT NULL, 
	gateway_cost_nano BIGINT NOT NULL, 
	waste_nano BIGINT NOT NULL, 
	estimated BIGINT NOT NULL, 
	PRIMARY KEY (cube, session, keyed, arm, facet, goal, named, bucket)
)
 WITHOUT ROWID

;

CREATE UNIQUE INDEX ix_closings_month ON closings (month);

CREATE UNIQUE INDEX ix_facets_labels ON facets (cube, team, project, "key", user, requested_model, served_model, tier, upstream, action, arm, state, usage_source, has_session, has_task);

CREATE UNIQUE INDEX ix_receipts_request_id ON receipts (request_id);

CREATE INDEX ix_corrections_posted_ms ON corrections (posted_ms);

CREATE INDEX ix_outcomes_team_task ON outcomes (team, task);

CREATE INDEX ix_receipts_posted_ms ON receipts (posted_ms);

CREATE INDEX ix_receipts_session ON receipts (session) WHERE session IS NOT NULL;

CREATE INDEX ix_receipts_task ON receipts (task) WHERE task IS NOT NULL;

CREATE INDEX ix_receipts_team_posted ON receipts (team, posted_ms);

CREATE INDEX ix_receipts_writer ON receipts (writer, posted_ms) WHERE writer <> '';

CREATE INDEX ix_reconciliations_account_day ON reconciliations (account, day);

CREATE INDEX ix_replies_expires_ms ON replies (expires_ms);

CREATE INDEX ix_session_totals_facet ON session_totals (cube, facet, first, last, infeasible, requests, compared_nano, baseline_nano, accepted, keyed, cost_nano);

CREATE INDEX ix_session_totals_long ON session_totals (cube, model, span, first, last) WHERE span > 0;

CREATE INDEX ix_session_totals_mixed ON session_totals (cube, model, first, last) WHERE facet = 0;

CREATE INDEX ix_slices_goal ON slices (goal);

CREATE INDEX ix_slices_named ON slices (cube, goal, bucket, facet, cost_nano) WHERE named = 1;

CREATE INDEX ix_slices_told ON slices (cube, goal, facet, arm, bucket, cost_nano, accepted) WHERE accepted IS NOT NULL;

CREATE TRIGGER attempts_no_delete BEFORE DELETE ON attempts BEGIN SELECT RAISE(ABORT, 'attempts is append-only'); END;

CREATE TRIGGER attempts_no_update BEFORE UPDATE ON attempts BEGIN SELECT RAISE(ABORT, 'attempts is append-only'); END;

CREATE TRIGGER closings_no_delete BEFORE DELETE ON closings BEGIN SELECT RAISE(ABORT, 'closings is append-only'); END;

CREATE TRIGGER closings_no_update BEFORE UPDATE ON closings BEGIN SELECT RAISE(ABORT, 'closings is append-only'); END;

CREATE TRIGGER corrections_month_open BEFORE INSERT ON corrections WHEN NEW.posted_ms < (SELECT MAX(until_ms) FROM closings) BEGIN SELECT RAISE(ABORT, 'the month is closed'); END;

CREATE TRIGGER corrections_no_delete BEFORE DELETE ON corrections BEGIN SELECT RAISE(ABORT, 'corrections is append-only'); END;

CREATE TRIGGER corrections_no_update BEFORE UPDATE ON corrections BEGIN SELECT RAISE(ABORT, 'corrections is append-only'); END;

CREATE TRIGGER grants_no_delete BEFORE DELETE ON grants BEGIN SELECT RAISE(ABORT, 'grants is append-only'); END;

CREATE TRIGGER grants_no_update BEFORE UPDATE ON grants BEGIN SELECT RAISE(ABORT, 'grants is append-only'); END;

CREATE TRIGGER lines_no_delete BEFORE DELETE ON lines BEGIN SELECT RAISE(ABORT, 'lines is append-only'); END;

CREATE TRIGGER lines_no_update BEFORE UPDATE ON lines BEGIN SELECT RAISE(ABORT, 'lines is append-only'); END;

CREATE TRIGGER outcomes_no_delete BEFORE DELETE ON outcomes BEGIN SELECT RAISE(ABORT, 'outcomes is append-only'); END;

CREATE TRIGGER outcomes_no_update BEFORE UPDATE ON outcomes BEGIN SELECT RAISE(ABORT, 'outcomes is append-only'); END;

CREATE TRIGGER receipts_month_open BEFORE INSERT ON receipts WHEN NEW.posted_ms < (SELECT MAX(until_ms) FROM closings) BEGIN SELECT RAISE(ABORT, 'the month is closed'); END;

CREATE TRIGGER receipts_no_delete BEFORE DELETE ON receipts BEGIN SELECT RAISE(ABORT, 'receipts is append-only'); END;

CREATE TRIGGER receipts_no_update BEFORE UPDATE ON receipts BEGIN SELECT RAISE(ABORT, 'receipts is append-only'); END;

CREATE TRIGGER reconciliations_no_delete BEFORE DELETE ON reconciliations BEGIN SELECT RAISE(ABORT, 'reconciliations is append-only'); END;

CREATE TRIGGER reconciliations_no_update BEFORE UPDATE ON reconciliations BEGIN SELECT RAISE(ABORT, 'reconciliations is append-only'); END;
