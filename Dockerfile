# Hourglass as one program on an image with no shell, no package manager and no user but its own.
#
#   docker build --tag hourglass .
#   docker run --rm --publish 127.0.0.1:7777:7777 --volume hourglass-data:/data hourglass
#
# Both base images are named by tag, which its owner keeps patched. For a build that gives the same bytes again,
# name them by digest: --build-arg BUILD_IMAGE=node:…@sha256:… --build-arg RUNTIME_IMAGE=…@sha256:…
# (`docker buildx imagetools inspect <image>` tells it).
ARG BUILD_IMAGE=node:24.11.1-bookworm-slim
ARG RUNTIME_IMAGE=gcr.io/distroless/base-debian12:nonroot

FROM ${BUILD_IMAGE} AS build
WORKDIR /build

# Process 1 loses each signal that it has no handler for yet, as the program has none in its first milliseconds.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends tini

# Packages first: this layer is made again only when the lock changes. The lock brings Bun itself, by hash.
COPY package.json package-lock.json ./
RUN --mount=type=cache,target=/root/.npm \
    npm ci --omit=dev --no-audit --no-fund

COPY tsconfig.json ./
COPY scripts/build.ts ./scripts/
COPY src ./src
# The data folder is made here, too: the image below has no mkdir.
RUN node_modules/.bin/bun scripts/build.ts --outfile=/build/dist/hourglass \
    && mkdir /build/dist/data

FROM ${RUNTIME_IMAGE}

ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Hourglass" \
      org.opencontainers.image.description="Counts clicks, impressions and unique users per hour" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

COPY --from=build /usr/bin/tini-static /usr/local/bin/tini
COPY --from=build /build/dist/hourglass /usr/local/bin/hourglass
# A new volume takes over the owner of the folder that it is mounted on.
COPY --from=build --chown=65532:65532 /build/dist/data /data

# By number, so that Kubernetes' runAsNonRoot can tell that it is not root.
USER 65532:65532
WORKDIR /data
VOLUME /data
# The last four keep the process from replacing itself at its start by one that has them.
ENV NODE_ENV=production \
    HOST=0.0.0.0 \
    PORT=7777 \
    DATA_DIR=/data \
    MIMALLOC_PURGE_DELAY=60000 \
    MIMALLOC_PURGE_HOLES=0 \
    MIMALLOC_ALLOW_THP=0 \
    BUN_JSC_thresholdForFTLOptimizeAfterWarmUp=1000000
EXPOSE 7777

# Ready means that its stores answer. The program asks itself: there is no curl here.
HEALTHCHECK --interval=5s --timeout=5s --start-period=60s --retries=3 \
    CMD ["/usr/local/bin/hourglass", "healthcheck"]

# On SIGTERM it takes nothing new, finishes what it has, and ends.
STOPSIGNAL SIGTERM
# -s: also below another init, as with --init.
ENTRYPOINT ["/usr/local/bin/tini", "-s", "--", "/usr/local/bin/hourglass"]
