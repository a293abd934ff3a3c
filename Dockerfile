# The commands of this project in a container. `docker build -t photo-pipeline .`, then
#   docker run --rm -v "$PWD/work:/project" -v "$PWD/photos:/photos:ro" photo-pipeline tune --data=/photos
# docs/containers.md has servers, volumes, and an image with a model.
FROM python:3.11-slim-bookworm

# What OpenCV's wheel needs of the system.
RUN apt-get update \
    && apt-get install --no-install-recommends --yes libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /app
COPY pyproject.toml requirements.txt constraints.txt README.md ./
COPY pipeline pipeline
RUN pip install --no-cache-dir --constraint constraints.txt '.[postgres]'

# Nothing is written but to /project (photos that were prepared, runs, reports: a volume) and /tmp, so that the rest can be
# mounted read-only. Commands that were killed go on in the same volume, under whatever host name they come back.
RUN useradd --uid 10001 --create-home pipeline && install --directory --owner=pipeline /project
ENV HOME=/tmp MPLCONFIGDIR=/tmp/matplotlib PYTHONUNBUFFERED=1 MLFLOW_DISABLE_TELEMETRY=true
USER 10001
WORKDIR /project
VOLUME /project

ENTRYPOINT ["photo-pipeline"]
CMD ["help"]
