# plait-proxy with the worker that runs plugins: Python and the SDK beside it. For meshes that use plugins; the other image does without Python.
FROM python:3.11-slim-bookworm AS installed
COPY proxy/*.whl sdk/*.whl /wheels/
RUN python3 -m venv /opt/plait && /opt/plait/bin/pip install --quiet --disable-pip-version-check --no-index --no-deps /wheels/*.whl

FROM python:3.11-slim-bookworm
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends nftables && rm -rf /var/lib/apt/lists/*
COPY --from=installed /opt/plait /opt/plait
ENV PATH=/opt/plait/bin:/usr/local/bin:/usr/sbin:/usr/bin:/bin PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
ENTRYPOINT ["plait-proxy"]
