-- What is over is found without reading the whole table, at every try to sign in.

CREATE INDEX sign_in_tries_over ON sign_in_tries (free_at);
