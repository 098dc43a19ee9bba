# The image with both programs: `ashore` (the webhook and command line) and `ashore-init`, which it brings into pods.
#   docker build -t ashore:0.1.0 .
# Any image with cargo and a C compiler for glibc will do as the builder: --build-arg RUST_IMAGE=...
ARG RUST_IMAGE=docker.io/library/rust:1.95-bookworm
FROM ${RUST_IMAGE} AS build
WORKDIR /src
COPY . .
# Static: there is nothing in the final image to link to. (The init is static in any case.)
RUN target=$(rustc -vV | sed -n 's/^host: //p') \
 && RUSTFLAGS='-C target-feature=+crt-static' cargo build --locked --release -p ashore --target "$target" \
 && src/init/build \
 && mkdir -p /out/bin && cp "target/$target/release/ashore" /out/bin/ && cp target/init/ashore-init /out/

FROM scratch
ARG VERSION=0.1.0
ARG REVISION
ARG CREATED
ARG SOURCE=https://github.com/ashore-dev/ashore
LABEL org.opencontainers.image.title="ashore" \
      org.opencontainers.image.description="Graceful shutdown for every process in a pod" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.source="${SOURCE}"
# Not at /ashore: that is where pods mount the init, in the container that copies it too.
COPY --from=build /out/ /
# A number, so that runAsNonRoot can be checked without a user database.
USER 65532:65532
ENTRYPOINT ["/bin/ashore"]
