# plait-controlplane with all that it needs, out of wheels: nothing is fetched, no user root, nothing written but below what is mounted.
FROM python:3.11-slim-bookworm AS installed
COPY controlplane/*.whl /wheels/
RUN python3 -m venv /opt/plait && /opt/plait/bin/pip install --quiet --disable-pip-version-check --no-index --no-deps /wheels/*.whl

FROM python:3.11-slim-bookworm
COPY --from=installed /opt/plait /opt/plait
ENV PATH=/opt/plait/bin:/usr/local/bin:/usr/bin:/bin PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
ENTRYPOINT ["plait-controlplane"]
