-- Refuses an append for a project that is gone, or was created again, after the request was authorized. The raised error looks
-- like the violation of a key that refers to projects, so that the program authorizes the request again.
CREATE FUNCTION require_projects(projects text[], incarnations bigint[]) RETURNS void
    LANGUAGE plpgsql
AS $$
BEGIN
    IF EXISTS (
        SELECT FROM unnest(projects, incarnations) AS judged (project_id, incarnation)
        WHERE NOT EXISTS (
            SELECT FROM projects p WHERE p.project_id = judged.project_id AND p.sequence = judged.incarnation
        )
    ) THEN
        RAISE foreign_key_violation USING
            CONSTRAINT = 'projects_current', MESSAGE = 'the project is gone, or was created again';
    END IF;
END
$$;

-- Refuses to delete a project that still holds functions, teams or users: their streams would go on in a later project of the
-- same id.
CREATE FUNCTION require_empty_project(project text) RETURNS void
    LANGUAGE plpgsql
AS $$
BEGIN
    IF EXISTS (SELECT FROM functions f WHERE f.project_id = project)
        OR EXISTS (SELECT FROM teams t WHERE t.project_id = project)
        OR EXISTS (SELECT FROM users u WHERE u.project_id = project)
    THEN
        RAISE foreign_key_violation USING CONSTRAINT = 'projects_empty', MESSAGE = 'the project is not empty';
    END IF;
END
$$;
