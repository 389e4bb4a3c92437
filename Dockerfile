# Two variants by build argument, `cpu` and `cuda`; docs/image.md says what each needs.
#
# The tag is pinned to a minor version of Python and a Debian release. A digest would pin it fully: add `@sha256:...` when
# you build for production, from the registry you pull from.
ARG VARIANT=cuda
FROM python:3.11-slim-bookworm AS build

ARG VARIANT
# An index with the torch build you want (CPU only, or another CUDA version). Left unset, torch comes like all the rest.
ARG TORCH_INDEX

WORKDIR /src
# The environment gets no pip of its own: the image needs none.
ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_PYTHON=/opt/backdoor-gate/bin/python
RUN python -m venv --without-pip /opt/backdoor-gate

COPY constraints.txt ./
# Without its dependencies: those come below, in the pinned versions, from the default index.
RUN if [ -n "${TORCH_INDEX:-}" ]; then \
      pip install --no-deps --index-url "$TORCH_INDEX" --constraint constraints.txt torch; \
    fi

COPY pyproject.toml README.md LICENSE ./
COPY backdoor_gate ./backdoor_gate
RUN pip install --constraint constraints.txt .

COPY scripts/check_variant.py ./scripts/
RUN /opt/backdoor-gate/bin/python -I scripts/check_variant.py "$VARIANT"


FROM python:3.11-slim-bookworm AS run

COPY --from=build /opt/backdoor-gate /opt/backdoor-gate

# MLflow looks for git when it is imported; the image has none and needs none.
ENV PATH=/opt/backdoor-gate/bin:$PATH \
    HOME=/tmp \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    GIT_PYTHON_REFRESH=quiet


FROM run AS run-cpu


FROM run AS run-cuda

# What NVIDIA's container runtime hands in; torch brings the rest of CUDA along.
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility


# One of the two stages above, which need no tag.
# hadolint ignore=DL3006
FROM run-${VARIANT}

ARG VARIANT
ARG VERSION
ARG REVISION
ARG CREATED
ARG SOURCE
LABEL org.opencontainers.image.title="backdoor-gate" \
      org.opencontainers.image.description="The gate between a trained model and production: scans a registry version for backdoors, passes or blocks it" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="python:3.11-slim-bookworm" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.source="${SOURCE}" \
      backdoor-gate.variant="${VARIANT}"

USER 10001:10001
WORKDIR /workspace
ENTRYPOINT ["/opt/backdoor-gate/bin/backdoor-gate"]
CMD ["--help"]
