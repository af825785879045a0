# rowvec with its model, search API and workers. The config is mounted at /app:
#   docker build -t rowvec .
#   docker build --build-arg EXTRAS=celery,libsql -t rowvec .
#   docker run --rm -v "$PWD:/app" rowvec sync
FROM python:3.12-slim AS build
ARG EXTRAS=serve
WORKDIR /src
COPY requirements.lock pyproject.toml README.md LICENSE ./
RUN python -m venv /venv \
 && /venv/bin/pip install --no-cache-dir --no-deps -r requirements.lock
COPY src src
RUN /venv/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels . \
 && /venv/bin/pip install --no-cache-dir "$(ls /wheels/*.whl)[$EXTRAS]"

FROM python:3.12-slim
RUN useradd --create-home --uid 10001 rowvec
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    ROWVEC_CACHE=/home/rowvec/.cache/rowvec
USER rowvec
WORKDIR /app
ENTRYPOINT ["rowvec"]
CMD ["--help"]
