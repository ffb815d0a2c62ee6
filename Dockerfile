# A server in a container, on CPUs or NVIDIA GPUs (docs/operations.md):
#   docker build --tag calvaria .
#   docker build --tag calvaria:cuda --build-arg DEVICE=cuda .
# DEVICE=cpu takes PyTorch's small build from its own index, as `make setup` does; DEVICE=cuda the one for GPUs, which brings CUDA along.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
ARG DEVICE=cpu
RUN apt-get update && apt-get install --yes --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
RUN python -m venv /opt/calvaria
ENV PATH=/opt/calvaria/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /build
COPY Makefile requirements.lock ./
RUN torch="$(grep '^torch==' requirements.lock)" \
    && if [ "$DEVICE" = cpu ]; then index="--index-url $(sed -n 's/^TORCH_CPU_INDEX := //p' Makefile)"; fi \
    && pip install ${index:-} "$torch" && pip install --constraint requirements.lock setuptools
COPY pyproject.toml setup.py README.md LICENSE ./
COPY calvaria calvaria
RUN pip install --constraint requirements.lock --no-build-isolation ".[serve]" && cd / && python -m calvaria.sparse.native
COPY handlers handlers
COPY models models
COPY archive/build.py archive/
RUN python archive/build.py

FROM ${BASE}
ARG DEVICE=cpu
# OpenMP for the native engine; Triton compiles what starts its kernels.
RUN apt-get update && apt-get install --yes --no-install-recommends libgomp1 $([ "$DEVICE" = cpu ] || echo gcc libc6-dev) \
    && rm -rf /var/lib/apt/lists/* && useradd --create-home --uid 10001 calvaria
COPY --from=build /opt/calvaria /opt/calvaria
ENV PATH=/opt/calvaria/bin:$PATH PYTHONUNBUFFERED=1 NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
WORKDIR /srv/calvaria
RUN mkdir logs && chown calvaria . logs  # a volume mounted there takes its owner over
COPY --from=build --chown=calvaria /build/archive/model_store archive/model_store
COPY --chown=calvaria config.properties metrics.yaml log4j2.xml ./
# Predictions and metrics leave the container, where `docker run --publish` lets them; management stays inside.
RUN sed --in-place --regexp-extended \
    's#^(inference|metrics)_address=http://127\.0\.0\.1:#\1_address=http://0.0.0.0:#; s#^grpc_inference_address=.*#grpc_inference_address=0.0.0.0#' \
    config.properties
USER calvaria
EXPOSE 8080 7070 8082
HEALTHCHECK --interval=60s --timeout=45s --start-period=330s CMD ["calvaria", "status"]
CMD ["calvaria", "serve", "--foreground"]
