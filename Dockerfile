# CPU only, without PyTorch. See docs/how-to/docker.md.
FROM node:20-slim AS page
WORKDIR /src/pleura/viewer/web
COPY src/pleura/viewer/web/package.json src/pleura/viewer/web/package-lock.json ./
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY src/pleura /src/pleura
RUN npm run build

FROM python:3.12-slim AS build
WORKDIR /build
COPY . .
COPY --from=page /src/pleura/viewer/static src/pleura/viewer/static
ARG VERSION=0.1.0.dev0
ENV SETUPTOOLS_SCM_PRETEND_VERSION=$VERSION
RUN python -m venv /opt/pleura && /opt/pleura/bin/pip install --no-cache-dir ".[view,onnxruntime]"

FROM python:3.12-slim
COPY --from=build /opt/pleura /opt/pleura
ENV PATH="/opt/pleura/bin:$PATH" PYTHONUNBUFFERED=1
RUN useradd --create-home --uid 1000 pleura
USER 1000
WORKDIR /data
ENTRYPOINT ["pleura"]
CMD ["--help"]
