# One image for every Annals process: `docker run IMAGE api`, `worker`, `keeper`, `executor`.
ARG BASE=python:3.13-slim-trixie
FROM ${BASE}

RUN useradd --system --uid 10001 --home-dir /var/lib/annals --shell /usr/sbin/nologin annals \
    && install -d -o annals -g annals -m 0700 /var/lib/annals

WORKDIR /opt/annals
COPY requirements.lock pyproject.toml README.md LICENSE ./
RUN python3 -m venv .venv && .venv/bin/python -m pip install --no-cache-dir --require-hashes -r requirements.lock
COPY annals ./annals
RUN .venv/bin/python -m pip install --no-cache-dir --no-deps .

ENV PATH=/opt/annals/.venv/bin:${PATH} ANNALS_DATA=/var/lib/annals PYTHONUNBUFFERED=1
USER annals
ENTRYPOINT ["annals"]
CMD ["version"]
