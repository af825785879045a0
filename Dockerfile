# rowvec with its model, search API and workers. The config is mounted at /app:
#   docker build -t rowvec .
#   docker build --build-arg EXTRAS=celery,libsql -t rowvec .
#   docker run --rm --user "$(id -u)" -v "$PWD:/app" rowvec sync      the folder is yours: so is what is written there
FROM python:3.12-slim AS build
ARG EXTRAS=serve
WORKDIR /src
COPY requirements.lock pyproject.toml README.md LICENSE ./
RUN python -m venv /venv \
 && /venv/bin/pip install --no-cache-dir --no-deps -r requirements.lock
COPY src src
COPY docs docs
RUN /venv/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels . \
 && /venv/bin/pip install --no-cache-dir "$(ls /wheels/*.whl)[$EXTRAS]"

FROM python:3.12-slim
# The models are fetched into /var/cache/rowvec, whoever runs it: a volume there keeps them.
RUN useradd --create-home --uid 10001 rowvec \
 && install --directory --mode 1777 /var/cache/rowvec
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    ROWVEC_CACHE=/var/cache/rowvec \
    HF_HOME=/var/cache/rowvec/huggingface
USER rowvec
WORKDIR /app
ENTRYPOINT ["rowvec"]
CMD ["--help"]
