-- What the former program kept versions with, and rows that went while it still ran.
DROP SCHEMA IF EXISTS annals_scratch CASCADE;
DROP FUNCTION keep_row_version();
UPDATE row_versions v SET gone = true
WHERE NOT v.gone AND v.to_position < 9223372036854775807 AND NOT EXISTS (
    SELECT FROM row_versions n
    WHERE n.kind = v.kind AND n.project_id = v.project_id AND n.id = v.id AND n.from_position = v.to_position
);
