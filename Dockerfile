# docker build -t relayfreellm .      How to run it: README.md, "In a container".

FROM rust:1-slim-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked --bin relayfreellm && mkdir -p /app/data

# glibc, certificates and time zones; no shell, no package manager.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /src/target/release/relayfreellm /usr/local/bin/relayfreellm
# settings.json and provider_model_limits.json are read here when they are mounted.
WORKDIR /app
COPY --from=build --chown=nonroot:nonroot /app /app
VOLUME /app/data

# Nothing outside the container reaches its loopback, so it listens on all of its addresses. The
# program starts like this only with RELAY_API_KEY, or with --insecure.
ENV HOST=0.0.0.0
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=6s --start-period=5s CMD ["relayfreellm", "status", "--host", "127.0.0.1"]
ENTRYPOINT ["relayfreellm"]
