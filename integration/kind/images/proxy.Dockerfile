# plait-proxy out of its wheel, and nft for the rules that redirect: no interpreter, no user root, nothing written but below what is mounted.
FROM python:3.11-slim-bookworm AS unpacked
COPY proxy/*.whl /wheel/
RUN python3 -m zipfile -e /wheel/*.whl /wheel && install -D -m 0755 /wheel/*.data/scripts/plait-proxy /out/plait-proxy

FROM debian:bookworm-slim
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends nftables && rm -rf /var/lib/apt/lists/*
COPY --from=unpacked /out/plait-proxy /usr/local/bin/plait-proxy
USER 10001:10001
ENTRYPOINT ["plait-proxy"]
