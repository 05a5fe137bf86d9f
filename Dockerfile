# syntax=docker/dockerfile:1
# The server alone, for an unprivileged user: `docker build --tag dispatch-server .`, and see docs/operating.md.

FROM rust:1.95-slim-bookworm AS toolchain
WORKDIR /src

# What the dependencies are built from: manifests, and every source as an empty program. It stays the same while only code changes,
# so the layer with the built dependencies does, too.
FROM toolchain AS manifests
COPY . .
RUN find . -path '*/src/*' -name '*.rs' ! -name lib.rs ! -name main.rs -delete \
    && find . -name '*.rs' -exec sh -c 'for file; do echo "fn main() { }" > "$file"; done' _ {} + \
    && find . -type f ! -name '*.rs' ! -name Cargo.toml ! -name Cargo.lock -delete

FROM toolchain AS build
COPY --from=manifests /src .
RUN cargo build --locked --release --package dispatch-server
COPY . .
# Cargo goes by the time of a change, and sources may be older than the empty ones.
RUN find . -name '*.rs' -exec touch {} + && cargo build --locked --release --package dispatch-server

FROM debian:bookworm-slim
RUN install --directory --owner=10001 --group=10001 --mode=0700 /var/lib/dispatch
# Whom an encrypted connection to the database believes.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /src/target/release/dispatch-server /usr/local/bin/
USER 10001:10001
# Beyond the container's own loopback; that takes keys, or the server says so and ends.
ENV DISPATCH_LISTEN=0.0.0.0:8080 DISPATCH_DATA_DIR=/var/lib/dispatch DISPATCH_REQUIRE_KEY=true
EXPOSE 8080
VOLUME /var/lib/dispatch
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=6s --start-period=120s --retries=3 CMD ["dispatch-server", "health"]
ENTRYPOINT ["dispatch-server"]
CMD ["serve"]
