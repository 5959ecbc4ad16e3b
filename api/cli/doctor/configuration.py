"""The configuration that an agent would start with here."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from api import tls
from api.access import API_KEY, LOCAL_NETWORK, LOCALHOST_ONLY, MODES, OPEN
from api.cli.agent_client import LOOPBACK
from api.cli.doctor.findings import Finding, ok, problem, warning
from conf.environment import ENVIRONMENT
from conf.settings import ConfigError, Settings, load
from conf.tables import ApiSettings
from storage.timestamps import iso, unix_ms

CHECK = "configuration"
SHORTEST_KEY = 16
_OWN_PREFIXES = ("DEVICE_API_", "API_", "CALLBOARD_", "AWS_IOT_", "AZURE_IOT", "GCP_MQTT_", "SQLITE_")
_OTHERS = frozenset(
    {
        "API_VERSION",
        "SQLITE_READONLY_MODE",
        "DEVICE_API_URL",
        "CALLBOARD_USER",
        "CALLBOARD_PASSWORD",
        "CALLBOARD_NEW_PASSWORD",
        "CALLBOARD_PASSPHRASE",
        "CALLBOARD_CA",
        "CALLBOARD_LAUNCHER",
    }
)


def loaded(config: Path | None, data_dir: Path | None) -> tuple[Settings | None, list[Finding]]:
    """The settings of files and environment, None when they stop a start."""
    overrides: dict[str, Any] = {"storage.data_dir": data_dir}
    try:
        settings = load(config, os.environ, overrides)
    except ConfigError as error:
        return None, [problem(CHECK, f"an agent does not start with it: {error}", "correct this value")]
    source = f"the defaults, {config} and the environment" if config else "the defaults and the environment"
    findings = [ok(CHECK, f"{source} are accepted"), *_security(settings.api), *_tls(settings.api)]
    findings += _strange_variables()
    if config is None and Path("/etc/callboard").is_dir():
        text = "this is what the environment of this shell says; a service reads /etc/callboard, too"
        findings.append(warning(CHECK, text, "run doctor with the service's --config and environment"))
    return settings, findings


def _security(api: ApiSettings) -> Iterator[Finding]:
    check = "security mode"
    mode = api.security_mode
    if mode not in MODES:
        text = f"{mode!r} is not a mode, so that every request is refused"
        yield problem(check, text, f"set API_SECURITY_MODE to one of {', '.join(sorted(MODES))}")
    elif mode == OPEN and not api.enable_auth:
        text = "OPEN: whoever reaches this machine may do everything"
        yield warning(check, text, "set API_SECURITY_MODE=API_KEY and API_KEY")
    elif mode == LOCAL_NETWORK and not api.enable_auth:
        text = "LOCAL_NETWORK: whoever is in the network may do everything"
        yield warning(check, text, "set ENABLE_AUTH=true and API_KEY, or API_SECURITY_MODE=API_KEY")
    elif mode == LOCALHOST_ONLY and api.host not in (None, *LOOPBACK):
        text = f"LOCALHOST_ONLY, but it listens on {api.host}: requests of others are refused"
        yield warning(check, text, "leave DEVICE_API_HOST out, or choose another API_SECURITY_MODE")
    else:
        yield ok(check, mode)
    if (mode == API_KEY or api.enable_auth) and not api.key:
        yield problem(check, "a key is asked for, and there is none: every request is refused", "set API_KEY")
    elif api.key and len(api.key) < SHORTEST_KEY:
        text = f"the API key has {len(api.key)} characters, which can be guessed"
        yield warning(check, text, f"take at least {SHORTEST_KEY} random ones: openssl rand -hex 32")


def _tls(api: ApiSettings) -> Iterator[Finding]:
    check = "certificate"
    if api.tls_cert is None or api.tls_key is None:
        if api.security_mode != LOCALHOST_ONLY and api.host not in LOOPBACK:
            text = "the API speaks without TLS to other machines: keys and passwords can be read on the way"
            yield warning(check, text, "set API_TLS_CERT and API_TLS_KEY, or put a proxy with TLS before it")
        return
    advice = "renew it, and have it renewed before it ends; the agent takes new files without a restart"
    try:
        served = tls.load(tls.Files(api.tls_cert, api.tls_key))
    except tls.BadCertificate as error:
        yield problem(check, f"the API cannot be served with it: {error}", "run doctor as the agent's user")
        return
    if served.expires_at <= unix_ms():
        yield problem(check, served.trouble or "it has expired", advice)
    elif served.trouble:
        yield warning(check, served.trouble, advice)
    else:
        yield ok(check, f"{api.tls_cert} is good until {iso(served.expires_at)}")


def _strange_variables() -> Iterator[Finding]:
    """Names that look like ours and that nobody reads: mistyped ones have no effect and no message."""
    known = set(ENVIRONMENT) | _OTHERS
    for name in sorted(os.environ):
        if name.startswith(_OWN_PREFIXES) and name not in known:
            yield warning(CHECK, f"the variable {name} is not read by anybody", "look for a mistyped name")
