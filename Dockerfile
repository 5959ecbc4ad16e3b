# docker build -t callboard .
# docker run -d -p 48484:48484 -v callboard:/app/data -e API_SECURITY_MODE=API_KEY -e API_KEY=... callboard
#
# docs/deployment.rst says how to run it with a read-only root and without capabilities, how to build it without
# a registry, and which mode of the API is reached from outside the container.

# Any image of Debian with python3 and its venv does.
ARG BASE=python:3.11-slim

FROM ${BASE} AS build
RUN python3 -m venv /opt/callboard
WORKDIR /src
# A folder `wheels` beside this file is looked into before the package index; with PIP_NO_INDEX=1 in its place.
ARG PIP_NO_INDEX=
COPY setup.cfg pyproject.toml README.rst LICENSE wheel[s] ./
COPY actors actors
COPY api api
COPY conf conf
COPY storage storage
RUN PIP_FIND_LINKS=/src /opt/callboard/bin/pip install --no-cache-dir . \
    && /opt/callboard/bin/pip uninstall --yes pip setuptools

FROM ${BASE}
RUN groupadd --gid 48484 callboard \
    && useradd --uid 48484 --gid callboard --no-create-home --home-dir /app --shell /usr/sbin/nologin callboard \
    && install --directory --owner callboard --group callboard --mode 0750 /app/data
COPY --from=build /opt/callboard /opt/callboard
ENV PATH=/opt/callboard/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    DEPLOYMENT_TYPE=docker
WORKDIR /app
USER 48484:48484
VOLUME /app/data
EXPOSE 48484
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s --retries=3 CMD ["python", "-m", "api.cli.healthcheck"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["callboard"]
CMD ["run"]
