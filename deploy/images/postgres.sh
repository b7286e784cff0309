#!/bin/sh
# Starts Postgres; makes the cluster first if there is none: POSTGRES_USER, POSTGRES_DB and POSTGRES_PASSWORD_FILE.
set -eu
if [ "$(id -u)" = 0 ]; then
    mkdir -p "$(dirname "$PGDATA")"
    chown postgres: /var/lib/postgresql "$(dirname "$PGDATA")"
    exec setpriv --reuid=postgres --regid=postgres --clear-groups "$0" "$@"
fi
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    draft="$PGDATA.new" # renamed when it is whole, so that an interrupted start leaves no half of a cluster
    rm -rf "$draft"
    initdb --pgdata="$draft" --username="$POSTGRES_USER" --pwfile="$POSTGRES_PASSWORD_FILE" --auth=scram-sha-256 \
        --encoding=UTF8 --locale=C --locale-provider=builtin --builtin-locale=C.UTF-8 --no-instructions
    echo "CREATE DATABASE \"$POSTGRES_DB\";" | postgres --single -D "$draft" postgres >/dev/null
    echo "host all all all scram-sha-256" >>"$draft/pg_hba.conf"
    echo "listen_addresses = '*'" >>"$draft/postgresql.conf"
    echo "unix_socket_directories = '/tmp'" >>"$draft/postgresql.conf"
    mv "$draft" "$PGDATA"
fi
exec "$@" -D "$PGDATA"
