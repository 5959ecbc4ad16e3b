# docker build -t callboard .
# docker run -d -p 48484:48484 -v callboard:/app/data -e API_SECURITY_MODE=API_KEY -e API_KEY=... callboard
#
# The default mode LOCALHOST_ONLY listens on the container's own loopback, where no published port leads:
# to reach the API from outside set API_SECURITY_MODE to API_KEY (or, behind something that guards it, to
# LOCAL_NETWORK, with the names that it is called by in API_ALLOWED_HOSTS).

FROM python:3.11-slim AS build
RUN python -m venv /opt/callboard
WORKDIR /src
COPY setup.cfg pyproject.toml README.rst LICENSE ./
COPY actors actors
COPY api api
COPY conf conf
COPY storage storage
RUN /opt/callboard/bin/pip install --no-cache-dir . \
    && /opt/callboard/bin/pip uninstall --yes pip setuptools

FROM python:3.11-slim
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
HEALTHCHECK --interval=30s --timeout=5s --start-period=15s --retries=3 CMD ["python", "-c", \
    "import os, urllib.request; urllib.request.build_opener(urllib.request.ProxyHandler({})).open('http://127.0.0.1:%s/ping' % (os.environ.get('DEVICE_API_PORT') or '48484'), timeout=4)"]
ENTRYPOINT ["callboard"]
CMD ["run"]
