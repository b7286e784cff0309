-- name: function
-- A function is there, in this incarnation: else the append is refused.
SELECT require_function(%(stream)s, %(incarnation)s);
