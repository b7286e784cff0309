-- Lists of the past are read in order and counted without looking at every row: `gone` is the last version of a row that
-- went.
ALTER TABLE row_versions ADD COLUMN gone boolean NOT NULL DEFAULT false;
UPDATE row_versions v SET gone = true
WHERE v.to_position < 9223372036854775807 AND NOT EXISTS (
    SELECT FROM row_versions n
    WHERE n.kind = v.kind AND n.project_id = v.project_id AND n.id = v.id AND n.from_position = v.to_position
);
CREATE INDEX row_versions_order ON row_versions (kind, project_id, sequence) WHERE from_position = sequence;
CREATE INDEX row_versions_gone ON row_versions (kind, project_id, to_position) WHERE gone;
