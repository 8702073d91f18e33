# The GPU image: NVIDIA's Triton with its own C++ backends, and this package for the Python steps.
# A repository that `deepfake-triton export` wrote is mounted at /models:
#   docker run --gpus all --shm-size=1g -p 8001:8001 -v "$PWD/repository:/models:ro" deepfake-triton
#
# Where a repository for TensorRT has no engine for the local GPU, the container builds it at start-up: name
# NVIDIA's Python package of the same TensorRT version as in the base image, and mount the repository writable:
#   docker build --build-arg TENSORRT=tensorrt-cu13==X.Y.Z.W .
#
# 25.08 has the 2025 security fixes of Triton's Python backend.
ARG BASE=nvcr.io/nvidia/tritonserver:25.08-py3

FROM ${BASE} AS wheel
WORKDIR /source
COPY . .
ENV PIP_BREAK_SYSTEM_PACKAGES=1
RUN python3 -m pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM ${BASE}
ARG TENSORRT=""
ENV PIP_BREAK_SYSTEM_PACKAGES=1
COPY constraints.txt /tmp/constraints.txt
COPY --from=wheel /wheels /tmp/wheels
# Serving needs numpy and OpenCV only; clients and exports run elsewhere.
RUN wheel="$(echo /tmp/wheels/*.whl)" \
    && python3 -m pip install --no-cache-dir --constraint /tmp/constraints.txt \
        "${wheel}${TENSORRT:+[engines]}" ${TENSORRT:+"${TENSORRT}"} \
    && rm -r /tmp/wheels /tmp/constraints.txt \
    && python3 -c "import deepfake_triton.preprocessing.faces"

COPY serving/start.sh /usr/local/bin/deepfake-triton-start

# Not root; 1000 is NVIDIA's own user triton-server.
USER 1000
EXPOSE 8000 8001 8002
HEALTHCHECK --start-period=5m --interval=10s CMD ["curl", "--fail", "--silent", "http://127.0.0.1:8000/v2/health/ready"]
ENTRYPOINT ["deepfake-triton-start"]
