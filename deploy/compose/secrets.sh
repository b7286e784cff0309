#!/bin/sh
# Makes the passwords of the database and the queue at the first start, and keeps them at later ones. Each service sees
# only the folder with its own secrets. To change a password, change it in the service too.
set -eu
umask 077
write() { # a file, its mode; the content comes from standard input
    cat >"$1.new"
    chmod "$2" "$1.new"
    mv "$1.new" "$1"
}
password() { # made once
    [ -s "$1" ] || head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n' | write "$1" 0444
    cat "$1"
}
chmod 0755 /secrets/postgres /secrets/valkey # their users are the images' own
database=$(password /secrets/postgres/password)
queue=$(password /secrets/valkey/password)
write /secrets/valkey/valkey.conf 0444 <<CONF
requirepass $queue
save ""
appendonly no
maxmemory 256mb
maxmemory-policy noeviction
dir /tmp
CONF
write /secrets/annals/database_url 0400 <<URL
postgresql://annals:$database@postgres:5432/annals
URL
write /secrets/annals/redis_url 0400 <<URL
redis://:$queue@valkey:6379/0
URL
