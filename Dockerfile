# The image with both programs: `ashore` (the webhook and command line) and `ashore-init`, which it brings into pods.
#   docker build -t ashore:dev .
# Any Rust image of glibc with a C compiler will do as the builder.
ARG RUST_IMAGE=rust:1.95-bookworm
FROM ${RUST_IMAGE} AS build
WORKDIR /src
COPY . .
# Static: there is nothing in the final image to link to. (The init is static in any case.)
RUN target=$(rustc -vV | sed -n 's/^host: //p') \
 && RUSTFLAGS='-C target-feature=+crt-static' cargo build --locked --release -p ashore --target "$target" \
 && cargo build --locked --profile init -p ashore-init \
 && mkdir /out && cp "target/$target/release/ashore" target/init/ashore-init /out/

FROM scratch
LABEL org.opencontainers.image.title="ashore" \
      org.opencontainers.image.description="Graceful shutdown for every process in a pod" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /out/ /
# A number, so that runAsNonRoot can be checked without a user database.
USER 65532:65532
ENTRYPOINT ["/ashore"]
