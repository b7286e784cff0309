# A node runtime image of ours, on any Debian-like base that has node and bash on its path. Context: annals/runtimes.
ARG BASE
FROM ${BASE}
COPY node /usr/local/server
COPY shared /usr/local/server
RUN mkdir -p /usr/local/build /usr/local/cache/build /mnt/code /mnt/logs /mnt/telemetry /mnt/resources
ENV OPEN_RUNTIMES_ENV=production OPEN_RUNTIMES_HEADERS={} LANG=C.UTF-8
RUN command -v unzip >/dev/null \
 || (apt-get update && apt-get install --yes --no-install-recommends unzip && rm -rf /var/lib/apt/lists/*)
LABEL annals.server="1"
WORKDIR /usr/local/server
EXPOSE 3000
CMD ["bash", "helpers/server.sh"]
