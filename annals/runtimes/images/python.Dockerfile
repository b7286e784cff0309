# A python runtime image of ours, on any Debian-like base that has python3 and bash on its path. Context: annals/runtimes.
ARG BASE
FROM ${BASE}
COPY python /usr/local/server
COPY shared /usr/local/server
RUN mkdir -p /usr/local/build /usr/local/cache/build /mnt/code /mnt/logs /mnt/telemetry /mnt/resources \
 && python3 -m compileall -q --invalidation-mode unchecked-hash /usr/local/server/src
# 1 makes it the image of the static runtime.
ARG ANNALS_STATIC=
ENV OPEN_RUNTIMES_ENV=production OPEN_RUNTIMES_HEADERS={} LANG=C.UTF-8 ANNALS_STATIC=${ANNALS_STATIC}
RUN command -v unzip >/dev/null \
 || (apt-get update && apt-get install --yes --no-install-recommends unzip && rm -rf /var/lib/apt/lists/*)
LABEL annals.server="1"
WORKDIR /usr/local/server
EXPOSE 3000
CMD ["bash", "helpers/server.sh"]
