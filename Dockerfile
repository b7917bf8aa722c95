# The programs on Debian 13; docker-compose.yml starts a fleet of them.
#
#   docker build -t blockfleet .
#   docker build --target check .      # the unit tests, on this Debian
#
# `./run test --full` carries out these steps where there is no engine:
# tests/image/dockerfile.py knows the instructions that are used here.

FROM debian:trixie-slim AS tools
RUN apt-get update && apt-get install -y --no-install-recommends \
        ccache cmake gcc libc6-dev ninja-build pkg-config \
        python3 python3-cryptography \
        libcmocka-dev libcurl4-openssl-dev libinih-dev libjansson-dev \
        libmicrohttpd-dev librdkafka-dev libsodium-dev libsqlite3-dev \
        libssl-dev zlib1g-dev \
    && rm -rf /var/lib/apt/lists/*
ENV CMAKE_C_COMPILER_LAUNCHER=ccache CCACHE_DIR=/root/.cache/ccache
WORKDIR /src
COPY CMakeLists.txt CMakePresets.json LICENSE ./
COPY schemas schemas
COPY config config
COPY worker worker
COPY dispatcher dispatcher

FROM tools AS check
COPY tests tests
RUN --mount=type=cache,target=/root/.cache/ccache \
    cmake --preset dev && cmake --build --preset dev
RUN ctest --test-dir build/dev -V -L 'unit|mock|fuzz'

FROM tools AS build
COPY README.md CHANGELOG.md ./
RUN --mount=type=cache,target=/root/.cache/ccache \
    cmake --preset release -D CMAKE_INSTALL_PREFIX=/usr \
    && cmake --build --preset release \
    && DESTDIR=/image cmake --install build/release --strip

FROM debian:trixie-slim
# What blocks may import when the local backend runs them; for frames of a
# video: --build-arg BLOCK_PACKAGES="python3-numpy python3-opencv".
ARG BLOCK_PACKAGES=python3-numpy
RUN apt-get update && apt-get install -y --no-install-recommends \
        ca-certificates libcurl4t64 libinih1 libjansson4 libmicrohttpd12t64 \
        librdkafka1 libsodium23 libsqlite3-0 libssl3t64 \
        zlib1g \
        python3 $BLOCK_PACKAGES \
    && rm -rf /var/lib/apt/lists/*
# The programs look for keys in ./keys, for locks in /run/blockfleet.
RUN groupadd --gid 10001 blockfleet \
    && useradd --uid 10001 --gid 10001 --home-dir /var/lib/blockfleet \
        --no-create-home --shell /usr/sbin/nologin blockfleet \
    && install -d -m 0700 -o blockfleet -g blockfleet \
        /run/blockfleet /var/lib/blockfleet /var/lib/blockfleet/keys \
        /var/lib/blockfleet/view
COPY --from=build /image/usr /usr
USER blockfleet
WORKDIR /var/lib/blockfleet
EXPOSE 8080
# A worker's lock file is written to as long as its loop turns.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD test -n "$(find /run/blockfleet -name '*.lock' -size +0 -mmin -1)"
CMD ["blockfleet-worker"]
