# syntax=docker/dockerfile:1
# docker build -t tokenweir .
# docker run -p 8080:8080 -v weir-data:/data -v ./weir.yaml:/etc/weir/weir.yaml:ro -e OPENAI_API_KEY tokenweir
ARG PYTHON=3.11-slim

FROM python:${PYTHON} AS build
# The CPU build of torch by default; for CUDA: --build-arg TORCH_INDEX=https://pypi.org/simple
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_NO_CACHE_DIR=1
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends build-essential \
    && rm -rf /var/lib/apt/lists/*
RUN python -m venv /opt/weir
ENV PATH=/opt/weir/bin:$PATH
WORKDIR /src
# What changes rarely comes first, so that a change of the code installs only the code.
COPY requirements/runtime.txt requirements/runtime.txt
RUN pip install --require-hashes --no-deps --requirement requirements/runtime.txt
# hadolint ignore=DL3059
RUN pip install --index-url "${TORCH_INDEX}" torch==2.13.0
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY gateway gateway
COPY compressor compressor
COPY router router
COPY billing billing
COPY dashboard dashboard
RUN pip install --no-deps --no-build-isolation .

FROM python:${PYTHON}
LABEL org.opencontainers.image.title="tokenweir" \
      org.opencontainers.image.description="The LLM bill you can audit, and the gateway that makes it smaller." \
      org.opencontainers.image.licenses="Apache-2.0"
# Numeric, so that a cluster can check that it is not root.
RUN groupadd --gid 10001 weir \
    && useradd --uid 10001 --gid weir --home-dir /data --no-create-home --shell /usr/sbin/nologin weir \
    && mkdir /data /etc/weir && chown weir:weir /data
COPY --from=build /opt/weir /opt/weir
# Nothing is written outside /data and /tmp: `docker run --read-only --tmpfs /tmp` works.
ENV PATH=/opt/weir/bin:$PATH \
    HOME=/data \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HF_HUB_OFFLINE=1 \
    LITELLM_LOCAL_MODEL_COST_MAP=True
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8080 8501
HEALTHCHECK --interval=15s --timeout=3s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/healthz', timeout=2)"]
ENTRYPOINT ["weir"]
CMD ["serve", "--config", "/etc/weir/weir.yaml", "--host", "0.0.0.0", "--port", "8080"]
