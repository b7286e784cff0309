# One image for every Annals process: `docker run IMAGE api`, `worker`, `keeper`, `executor`, `listen`, `prepare`.
# BUILD_BASE may have the wheels of the lock file, so that the build needs no network (`annals images platform`).
ARG BASE=python:3.13-slim-trixie
ARG BUILD_BASE=${BASE}

FROM ${BUILD_BASE} AS packages
WORKDIR /opt/annals
COPY requirements.lock pyproject.toml README.md LICENSE ./
RUN python3 -m venv .venv && .venv/bin/python -m pip install --no-cache-dir --require-hashes -r requirements.lock
COPY annals ./annals
RUN .venv/bin/python -m pip install --no-cache-dir --no-deps .

FROM ${BASE}
# The executor closes the host to functions with nft.
RUN command -v nft >/dev/null \
 || (apt-get update && apt-get install --yes --no-install-recommends nftables && rm -rf /var/lib/apt/lists/*)
RUN useradd --system --uid 10001 --home-dir /var/lib/annals --shell /usr/sbin/nologin annals \
    && install -d -o annals -g annals -m 0700 /var/lib/annals
COPY --from=packages /opt/annals/.venv /opt/annals/.venv
WORKDIR /opt/annals
ENV PATH=/opt/annals/.venv/bin:${PATH} ANNALS_DATA=/var/lib/annals PYTHONUNBUFFERED=1
USER annals
ENTRYPOINT ["annals"]
CMD ["version"]
