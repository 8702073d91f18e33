# Three images, one command: `deepfake-triton`, as user 1000, on a read-only root; /tmp and /dev/shm are written to, and
# /engines in the first.
#   gpu      NVIDIA's Triton with its own backends in C++
#   cpu      the embedded Triton with OpenVINO
#   gateway  the web page, REST and gRPC for video files, in front of Tritons elsewhere
# A repository that `deepfake-triton export` wrote is mounted at /models:
#   docker build --target cpu --tag deepfake-triton:cpu .
#   docker run --read-only --tmpfs /tmp:exec --shm-size 2g -p 8001:8001 -v "$PWD/repository:/models:ro" deepfake-triton:cpu
#
# Both bases may be named by digest (NAME@sha256:…), as may mirrors of them.
ARG TRITON_BASE=nvcr.io/nvidia/tritonserver:26.11-py3
ARG PYTHON_BASE=python:3.11-slim-bookworm

FROM ${PYTHON_BASE} AS wheel
WORKDIR /source
COPY . .
RUN python3 -m pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM ${PYTHON_BASE} AS sbom-tool
COPY deploy/images/requirements-sbom.txt /tmp/
RUN python3 -m venv --without-pip /opt/sbom \
    && python3 -m pip --python /opt/sbom install --no-cache-dir --no-deps --require-hashes \
        --requirement /tmp/requirements-sbom.txt

# Environments hold no pip: nothing is added to them later. Only they go on, and their bills of materials.
FROM sbom-tool AS cpu-environment
COPY deploy/images/requirements-cpu.txt /tmp/
COPY --from=wheel /wheels /wheels
RUN python3 -m venv --without-pip /opt/deepfake-triton \
    && python3 -m pip --python /opt/deepfake-triton install --no-cache-dir --no-deps --require-hashes \
        --requirement /tmp/requirements-cpu.txt \
    && python3 -m pip --python /opt/deepfake-triton install --no-cache-dir --no-deps --no-index /wheels/*.whl \
    && /opt/sbom/bin/cyclonedx-py environment --output-reproducible --output-file /sbom.cdx.json \
        /opt/deepfake-triton

FROM sbom-tool AS gateway-environment
COPY deploy/images/requirements-gateway.txt /tmp/
COPY --from=wheel /wheels /wheels
RUN python3 -m venv --without-pip /opt/deepfake-triton \
    && python3 -m pip --python /opt/deepfake-triton install --no-cache-dir --no-deps --require-hashes \
        --requirement /tmp/requirements-gateway.txt \
    && python3 -m pip --python /opt/deepfake-triton install --no-cache-dir --no-deps --no-index /wheels/*.whl \
    && /opt/sbom/bin/cyclonedx-py environment --output-reproducible --output-file /sbom.cdx.json \
        /opt/deepfake-triton

# TENSORRT names NVIDIA's Python package of the base's TensorRT, for engines that are built where they serve, into
# the volume /engines:
#   --build-arg TENSORRT=tensorrt-cu13==X.Y.Z.W
FROM ${TRITON_BASE} AS gpu-environment
ARG TENSORRT=""
COPY deploy/images/requirements-gpu.txt constraints.txt /tmp/
COPY --from=wheel /wheels /wheels
RUN python3 -m venv --without-pip /opt/deepfake-triton \
    && python3 -m pip --python /opt/deepfake-triton install --no-cache-dir --no-deps --require-hashes \
        --requirement /tmp/requirements-gpu.txt \
    && python3 -m pip --python /opt/deepfake-triton install --no-cache-dir --no-deps --no-index /wheels/*.whl \
    && if [ -n "${TENSORRT}" ]; then \
        python3 -m pip --python /opt/deepfake-triton install --no-cache-dir \
            --constraint /tmp/constraints.txt "deepfake-triton[engines]" "${TENSORRT}"; \
    fi

# Of the packages by their hashes: another Python than this one's runs them. NVIDIA lists what the base holds.
FROM sbom-tool AS gpu-sbom
COPY deploy/images/requirements-gpu.txt /tmp/
RUN /opt/sbom/bin/cyclonedx-py requirements --output-reproducible --output-file /sbom.cdx.json \
        /tmp/requirements-gpu.txt

FROM ${PYTHON_BASE} AS gateway
ARG VERSION=0.1.0
ARG REVISION=""
LABEL org.opencontainers.image.title="deepfake-triton gateway" \
      org.opencontainers.image.description="Web page, REST and gRPC for video files, in front of Triton" \
      org.opencontainers.image.licenses="MIT AND CC-BY-4.0 AND Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=gateway-environment /opt/deepfake-triton /opt/deepfake-triton
COPY --from=gateway-environment /sbom.cdx.json /usr/share/deepfake-triton/sbom.cdx.json
ENV PATH=/opt/deepfake-triton/bin:$PATH \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1
USER 1000:1000
EXPOSE 8080 8081
STOPSIGNAL SIGTERM
HEALTHCHECK --start-period=30s --interval=10s --timeout=5s CMD ["python3", "-c", \
    "import urllib.request as r; r.urlopen('http://127.0.0.1:8080/readyz', timeout=4)"]
ENTRYPOINT ["deepfake-triton"]
# Closed unless these are mounted, or other arguments given: encryption towards Triton, keys for callers.
CMD ["web", "--host", "0.0.0.0", "--url", "triton:8001", "--triton-ca", "/certificates/ca.crt", \
     "--api-keys", "/keys/api-keys"]

FROM ${TRITON_BASE} AS gpu
ARG VERSION=0.1.0
ARG REVISION=""
LABEL org.opencontainers.image.title="deepfake-triton gpu" \
      org.opencontainers.image.description="A deepfake-video detector on NVIDIA's Triton" \
      org.opencontainers.image.licenses="MIT AND CC-BY-4.0 AND Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=gpu-environment /opt/deepfake-triton /opt/deepfake-triton
COPY --from=gpu-sbom /sbom.cdx.json /usr/share/deepfake-triton/sbom.cdx.json
ENV PATH=/opt/deepfake-triton/bin:$PATH \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1
# 1000 is NVIDIA's own user triton-server. A new volume is given the owner of the folder.
RUN install -d -o 1000 -g 1000 -m 700 /engines
VOLUME ["/engines"]
USER 1000:1000
EXPOSE 8000 8001 8002
STOPSIGNAL SIGTERM
HEALTHCHECK --start-period=40m --interval=10s --timeout=5s CMD ["python3", "-c", \
    "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/v2/health/ready', timeout=4)"]
ENTRYPOINT ["deepfake-triton"]
CMD ["serve", "/models", "--host", "0.0.0.0", "--triton", "/opt/tritonserver", "--engine-cache", "/engines"]

FROM ${PYTHON_BASE} AS cpu
ARG VERSION=0.1.0
ARG REVISION=""
LABEL org.opencontainers.image.title="deepfake-triton cpu" \
      org.opencontainers.image.description="A deepfake-video detector on Triton 2.51 and OpenVINO" \
      org.opencontainers.image.licenses="MIT AND CC-BY-4.0 AND Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=cpu-environment /opt/deepfake-triton /opt/deepfake-triton
COPY --from=cpu-environment /sbom.cdx.json /usr/share/deepfake-triton/sbom.cdx.json
ENV PATH=/opt/deepfake-triton/bin:$PATH \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1
USER 1000:1000
EXPOSE 8000 8001 8002
STOPSIGNAL SIGTERM
HEALTHCHECK --start-period=5m --interval=10s --timeout=5s CMD ["python3", "-c", \
    "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/v2/health/ready', timeout=4)"]
ENTRYPOINT ["deepfake-triton"]
CMD ["serve", "/models", "--host", "0.0.0.0"]
