# The tag is pinned to a minor version of Python and a Debian release. A digest would pin it fully: add `@sha256:...` when
# you build for production, from the registry you pull from.
FROM python:3.11-slim-bookworm AS build

# An index with the torch build you want (CPU only, or another CUDA version). Left unset, torch comes like all the rest.
ARG TORCH_INDEX

WORKDIR /src
RUN python -m venv /opt/backdoor-gate
ENV PATH=/opt/backdoor-gate/bin:$PATH \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1

COPY constraints.txt ./
# Without its dependencies: those come below, in the pinned versions, from the default index.
RUN if [ -n "${TORCH_INDEX:-}" ]; then \
      pip install --no-deps --index-url "$TORCH_INDEX" --constraint constraints.txt torch; \
    fi

COPY pyproject.toml README.md LICENSE ./
COPY backdoor_gate ./backdoor_gate
RUN pip install --constraint constraints.txt .


FROM python:3.11-slim-bookworm

LABEL org.opencontainers.image.title="backdoor-gate" \
      org.opencontainers.image.description="The gate between a trained model and production: scans a registry version for backdoors, passes or blocks it" \
      org.opencontainers.image.licenses="Apache-2.0"

COPY --from=build /opt/backdoor-gate /opt/backdoor-gate

# MLflow looks for git when it is imported; the image has none and needs none.
ENV PATH=/opt/backdoor-gate/bin:$PATH \
    HOME=/tmp \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    GIT_PYTHON_REFRESH=quiet

USER 10001
WORKDIR /workspace
ENTRYPOINT ["backdoor-gate"]
CMD ["--help"]
