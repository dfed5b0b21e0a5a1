# Built by `docker build -t rampart .`, run by
# `docker run -p 8013:8013 -p 127.0.0.1:8014:8014 -v rampart:/data rampart`. In place of flagd's image:
# `docker run -p 8013-8016:8013-8016 -v $PWD/flags.json:/flags.json -v rampart:/data rampart start --uri file:/flags.json`.

FROM rust:1.95-slim-bookworm AS build
# A C compiler for the bundled SQLite; nothing else is not Rust.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends build-essential \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY Cargo.toml Cargo.lock build.rs ./
COPY proto proto
COPY src src
RUN cargo build --locked --profile dist --bin rampart

FROM debian:bookworm-slim
# A fixed number, so that volumes and pod security rules can name it.
RUN groupadd --system --gid 10001 rampart \
    && useradd --system --uid 10001 --gid rampart --home-dir /data --shell /usr/sbin/nologin rampart \
    && install --directory --owner rampart --group rampart --mode 0750 /data
COPY --from=build /source/target/dist/rampart /usr/local/bin/rampart
COPY LICENSE /usr/share/doc/rampart/LICENSE
ENV RAMPART_LISTEN=0.0.0.0:8013 \
    RAMPART_ADMIN_LISTEN=0.0.0.0:8014 \
    RAMPART_DATA_DIR=/data
USER 10001:10001
WORKDIR /data
VOLUME /data
# Data plane: evaluations and subscriptions. Control plane: admin API and metrics. `rampart start` also listens where
# flagd's clients look for sync (8015) and OFREP (8016); both are the data plane again.
EXPOSE 8013 8014 8015 8016
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 CMD ["rampart", "health"]
ENTRYPOINT ["rampart"]
CMD ["serve"]
