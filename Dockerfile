# The images of the service: worker-cpu, worker-gpu, producer, and local-aws for laptops and tests.
#
#     docker build --target worker-cpu --tag chunkflow-worker:0.1.0-cpu .
#
# `make images` builds all but worker-gpu; `make image-gpu` builds that one.
#
# Needs BuildKit (set DOCKER_BUILDKIT=1 before Docker 23). For a proxy or your own index, pass pip's
# settings to the build as a secret, which no layer keeps: --secret id=pip.conf,src=pip.conf
#
# The digest is the one that Docker's official images publish for this tag (docker-library/repo-info,
# August 2026); Docker checks it. `make base-image` writes that of today.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm@sha256:0bee7276f83efd4a1ee05bbbf4281d95ed28e079220a9457f25a93e3f1e3c31b

# ---------------------------------------------------------------- packages: they rarely change

FROM ${PYTHON_IMAGE} AS venv
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PIP_ONLY_BINARY=:all: PIP_REQUIRE_HASHES=1
# The environment has no pip of its own: the pip of the base image installs into it.
RUN python -m venv --without-pip /opt/venv
WORKDIR /build

FROM venv AS core-packages
COPY deploy/requirements/core.txt ./
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf --mount=type=cache,target=/root/.cache/pip \
    python -m pip --python /opt/venv/bin/python install -r core.txt

FROM core-packages AS local-aws-packages
COPY deploy/requirements/local-aws.txt ./
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf --mount=type=cache,target=/root/.cache/pip \
    python -m pip --python /opt/venv/bin/python install -r core.txt -r local-aws.txt

FROM core-packages AS producer-packages
COPY deploy/requirements/producer.txt ./
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf --mount=type=cache,target=/root/.cache/pip \
    python -m pip --python /opt/venv/bin/python install -r core.txt -r producer.txt

FROM core-packages AS worker-packages
COPY deploy/requirements/worker.txt ./
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf --mount=type=cache,target=/root/.cache/pip \
    python -m pip --python /opt/venv/bin/python install -r core.txt -r worker.txt

FROM worker-packages AS worker-cpu-packages
# On PyPI, torch for x86-64 is the CUDA build. The smaller CPU build is on PyTorch's own index. Its hash is
# locked like all others.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
COPY deploy/requirements/torch-cpu.txt ./
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf --mount=type=cache,target=/root/.cache/pip \
    python -m pip --python /opt/venv/bin/python install ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} \
    -r core.txt -r worker.txt -r torch-cpu.txt

FROM worker-packages AS worker-gpu-packages
COPY deploy/requirements/torch-gpu.txt ./
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf --mount=type=cache,target=/root/.cache/pip \
    python -m pip --python /opt/venv/bin/python install -r core.txt -r worker.txt -r torch-gpu.txt

# ---------------------------------------------------------------- code: it often changes, in one small layer

FROM venv AS code
COPY deploy/requirements/build.txt ./
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf --mount=type=cache,target=/root/.cache/pip \
    python -m venv --without-pip /opt/build && python -m pip --python /opt/build/bin/python install -r build.txt
COPY pyproject.toml README.md LICENSE ./
COPY chunkflow_worker chunkflow_worker
COPY producer producer
RUN /opt/build/bin/hatchling build -t wheel -d dist \
    && PIP_REQUIRE_HASHES=0 python -m pip --python /opt/venv/bin/python install --no-index --no-deps dist/*.whl

# ---------------------------------------------------------------- images

FROM ${PYTHON_IMAGE} AS base
ARG PYTHON_IMAGE
LABEL org.opencontainers.image.licenses="Apache-2.0" org.opencontainers.image.base.name="${PYTHON_IMAGE}"
# tini forwards signals to the process that it starts, and reaps its orphaned children.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends tini \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --user-group --no-create-home --home-dir /tmp --shell /usr/sbin/nologin chunkflow
# Only /tmp is written to, so the root file system can be read-only.
ENV PATH=/opt/venv/bin:$PATH HOME=/tmp PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /job

FROM base AS producer
COPY --from=producer-packages /opt/venv /opt/venv
COPY --from=code /opt/venv /opt/venv
USER 10001:10001
HEALTHCHECK NONE
ENTRYPOINT ["tini", "--", "chunkflow-producer"]
CMD ["--help"]
ARG VERSION=0.1.0
ARG REVISION
LABEL org.opencontainers.image.title="chunkflow-producer" org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}" \
    org.opencontainers.image.description="Sends the boxes of a job to SQS, shows it as a page, verifies its output"

FROM base AS local-aws
COPY --from=local-aws-packages /opt/venv /opt/venv
COPY --from=code /opt/venv /opt/venv
USER 10001:10001
EXPOSE 5000
HEALTHCHECK --interval=2s --timeout=5s --start-period=30s --retries=15 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:5000/moto-api/', timeout=4)"]
ENTRYPOINT ["tini", "--"]
CMD ["chunkflow-worker", "local-aws", "--host", "0.0.0.0", "--port", "5000"]
ARG VERSION=0.1.0
ARG REVISION
LABEL org.opencontainers.image.title="chunkflow-local-aws" org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}" \
    org.opencontainers.image.description="SQS, S3 and CloudWatch in memory, for laptops and tests; without authentication"

FROM base AS worker
# Nothing listens unless CHUNKFLOW_METRICS_PORT is set.
ENV CHUNKFLOW_METRICS_HOST=0.0.0.0
HEALTHCHECK --interval=30s --timeout=10s --start-period=120s --retries=3 CMD ["chunkflow-worker", "health"]
ENTRYPOINT ["tini", "--", "chunkflow-worker"]
CMD ["run"]

FROM worker AS worker-cpu
COPY --from=worker-cpu-packages /opt/venv /opt/venv
COPY --from=code /opt/venv /opt/venv
USER 10001:10001
ARG VERSION=0.1.0
ARG REVISION
LABEL org.opencontainers.image.title="chunkflow-worker" org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}" \
    org.opencontainers.image.description="Takes boxes from SQS and runs a chain of operators on each, on CPUs"

FROM worker AS worker-gpu
COPY --from=worker-gpu-packages /opt/venv /opt/venv
COPY --from=code /opt/venv /opt/venv
# The NVIDIA container toolkit adds CUDA, and nvidia-smi, which CHUNKFLOW_DEVICES=all calls.
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 10001:10001
ARG VERSION=0.1.0
ARG REVISION
LABEL org.opencontainers.image.title="chunkflow-worker" org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}" \
    org.opencontainers.image.description="Takes boxes from SQS and runs a chain of operators on each, on NVIDIA GPUs"
