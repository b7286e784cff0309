-- How a function's calls are run, as the JSON of its policy; an empty one is the defaults.
ALTER TABLE functions ADD COLUMN policy jsonb NOT NULL DEFAULT '{}';

-- Functions that some duty of the keeper or a bound of the workers looks at.
CREATE INDEX functions_policy ON functions (project_id, function_id) WHERE policy <> '{}';
