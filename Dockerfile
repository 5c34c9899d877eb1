# The base decides the Python, its path and its patches: give it by digest where images are released, for example
#   docker build --build-arg BASE_IMAGE=python:3.13-slim@sha256:... --build-arg VERSION=0.1.0 --build-arg REVISION=$(git rev-parse HEAD) .
# Any image will do that has python3 (3.11 or newer) with venv, and certificate authorities.
ARG BASE_IMAGE=python:3.13-slim
# The same Python at the same path, with a C compiler for the express lane. Without one the image works, too, and takes
# more processor time: BUILD_IMAGE may be the base itself.
ARG BUILD_IMAGE=python:3.13

FROM ${BUILD_IMAGE} AS build
# `tracing` brings OpenTelemetry along.
ARG LOCK=run
COPY requirements/${LOCK}.txt /tmp/lock.txt
# Only what is locked, by its hash. None of it needs a compiler or a system library: the wheels bring their own.
RUN --mount=type=cache,target=/var/cache/pip \
    export PIP_CACHE_DIR=/var/cache/pip \
    && python3 -m venv /opt/aiq-braze \
    && /opt/aiq-braze/bin/python -m pip install --disable-pip-version-check --only-binary=:all: --no-compile --require-hashes --requirement /tmp/lock.txt \
    && /opt/aiq-braze/bin/python -m pip uninstall --yes pip setuptools
COPY LICENSE /opt/aiq-braze/
COPY schemas /opt/aiq-braze/src/schemas
COPY connector /opt/aiq-braze/src/connector
# Everything is compiled here once: where the connector runs, nothing can be written.
RUN PYTHONPATH=/opt/aiq-braze/src /opt/aiq-braze/bin/python -B -m connector.express.build --if-possible \
    && /opt/aiq-braze/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/aiq-braze/lib /opt/aiq-braze/src

FROM ${BASE_IMAGE}
ARG BASE_IMAGE
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="aiq-braze" \
      org.opencontainers.image.description="Delivers ActionIQ audiences, events and triggered campaigns from Kafka to Braze, losing none of them." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="${BASE_IMAGE}"
COPY --from=build /opt/aiq-braze /opt/aiq-braze
ENV PYTHONPATH=/opt/aiq-braze/src \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    AIQ_BRAZE_REVISION=${REVISION}
# By number: a cluster that demands runAsNonRoot cannot tell from a name.
USER 10001:10001
EXPOSE 8080
STOPSIGNAL SIGTERM
# No shell in between: it would keep SIGTERM to itself.
ENTRYPOINT ["/opt/aiq-braze/bin/python", "-m", "connector"]
CMD ["run"]
