-- A cube of its own for function and trigger, of all its stretches of time in one table. Same columns as usage_cells.
CREATE TABLE usage_calls (LIKE usage_cells INCLUDING DEFAULTS);
ALTER TABLE usage_calls ADD PRIMARY KEY (
    project_id, cube, grain, bucket, function_id, function_sequence, deployment_id, trigger, status, reason,
    specification
);
