"""Configuration: environment variables with the prefix `TRUNKLINE_`, and the seeds' names as aliases.

Always true: a wrong value stops the start with a sentence that names the variable, the value and what is accepted;
every duration is in seconds here, whatever unit its alias uses.
Called by: app, cli, store, embedded.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import os
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from trunkline.errors import InvalidSetting

PREFIX = "TRUNKLINE_"
IN_FILE = "_FILE"  # TRUNKLINE_DATABASE_URL_FILE names a file whose text is the value: secrets of systemd and of containers are files
LARGEST_FILE = 64 * 1024

# The documented systems' names -> (ours, factor to our unit). A name of ours that is set wins over its alias.
ALIASES: dict[str, tuple[str, float | None]] = {
    "DATABASE_URL": ("DATABASE_URL", None),
    "SUPABASE_DIRECT_URL": ("LISTEN_URL", None),
    "PGBOSS_SCHEMA": ("SCHEMA", None),
    "PGBOSS_DELETE_ARCHIVED_AFTER_DAYS": ("RETENTION", 86400.0),
    "MAX_CONCURRENT_JOBS": ("CONCURRENCY", None),
    "JOB_TIMEOUT_MINUTES": ("JOB_TIMEOUT", 60.0),
    "WEBSOCKET_PORT": ("PORT", None),
    "WEBSOCKET_CORS_ORIGIN": ("CORS_ORIGINS", None),
    "WEBSOCKET_PING_INTERVAL": ("PING_INTERVAL", 0.001),
    "WEBSOCKET_PING_TIMEOUT": ("PING_TIMEOUT", 0.001),
}
SECRET: dict[str, Any] = {"secret": True}  # never printed: not in messages, not by `config show`, not in the repr
DEVELOPMENT_ORIGINS = ("http://localhost:3000", "http://localhost:5173")
UNUSED = {
    "PGBOSS_ARCHIVE_COMPLETED_AFTER_SECONDS": "finished jobs are never moved to an archive; TRUNKLINE_RETENTION alone decides",
    "NOTIFICATION_RETENTION_DAYS": "this version keeps no notifications",
    "EMAIL_NOTIFICATIONS_ENABLED": "this version sends no e-mail",
}


class Settings(BaseModel):
    """What a process of ours can be told. Read it with `Settings.load()`, which applies the aliases."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    database_url: str | None = Field(None, repr=False, description="postgresql:// URL; unset: an embedded PostgreSQL")
    listen_url: str | None = Field(None, repr=False, description="session-mode URL for LISTEN, where DATABASE_URL is a transaction pooler")
    schema_name: str = Field("trunkline", pattern=r"^[a-z_][a-z0-9_]{0,39}$")
    retention_s: float = Field(30 * 86400.0, ge=60, le=3650 * 86400.0)
    partition_days: int = Field(7, ge=1, le=31, description="width of a history partition, days")
    tenant: str = Field("default", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$", description="the default tenant's name")
    concurrency: int = Field(5, ge=1, le=100_000, description="jobs a worker runs at once")
    job_timeout_s: float = Field(1800.0, gt=0, le=30 * 86400.0)
    poll_interval_s: float = Field(1.0, ge=0.05, le=15, description="how often a process looks by itself, seconds")
    shutdown_timeout_s: float = Field(30.0, ge=0, le=3600)
    pool_max: int = Field(10, ge=2, le=500, description="connections a process may open")
    command_timeout_s: float = Field(30.0, ge=0.1, le=600)
    payload_max_bytes: int = Field(1024 * 1024, ge=1024, le=256 * 1024 * 1024)
    result_max_bytes: int = Field(1024 * 1024, ge=1024, le=256 * 1024 * 1024)
    encryption_keys: SecretStr | None = Field(None, description="comma list of keys: the first encrypts, all decrypt; never shown")
    secret_fields: str = Field("default", max_length=10_000, description="comma list of payload fields that are refused; off: none")
    jobtypes_off: str = Field("", max_length=10_000, description="comma list of job types that are not declared; all: every plug-in")
    connection_hosts: str = Field(
        "", max_length=10_000, description="comma list of hosts, networks and folders that registered URLs may name"
    )
    files_dir: str = Field("trunkline-files", min_length=1, description="folder of files that jobs read and write, one per tenant in it")
    export_max_rows: int = Field(10_000_000, ge=1)
    export_max_bytes: int = Field(2 * 1024**3, ge=1024)
    import_max_bytes: int = Field(1024**3, ge=1024)
    report_all_tenants: bool = Field(False, description="whether reports of the default tenant may count every tenant")
    ai_base_url: str | None = Field(
        None, pattern=r"^https?://", max_length=1000, repr=False, description="OpenAI-compatible endpoint, such as https://host/v1"
    )
    ai_api_key: SecretStr | None = Field(None, json_schema_extra=SECRET, description="its key; never shown")
    ai_model: str | None = Field(None, min_length=1, max_length=200)
    ai_blocked: str = Field("", max_length=10_000, description="comma list of phrases that are neither sent nor kept")
    recovery_window_s: float = Field(
        120.0, ge=10, le=600, description="how long a client may be away and still get what it missed, seconds"
    )
    progress_rate: float = Field(4.0, ge=0, le=1000, description="progress of one job that watchers are told a second; 0: all of it")
    events_kept_s: float = Field(86400.0, ge=60, le=86400, description="how long what is said about jobs stays in their history, seconds")
    trace_context: bool = Field(True, description="whether a job carries the trace of the span that enqueued it")
    env: Literal["development", "production"] | None = None
    host: str = Field("127.0.0.1", min_length=1, max_length=255, description="address that the gateway and the API listen on")
    port: int = Field(3000, ge=0, le=65535, description="0: any free one")
    cors_origins: str = Field("", max_length=10_000, description="comma list of origins whose pages may connect and call; *: every page")
    ping_interval_s: float = Field(25.0, ge=0.1, le=300, description="pings to watchers of /socket.io")
    ping_timeout_s: float = Field(60.0, ge=0.1, le=300, description="... and how long an answer may take")
    ws_compression: bool = Field(False, description="whether WebSockets whose clients offer it are compressed (permessage-deflate)")
    websocket_only: bool = Field(False, description="whether Socket.IO is spoken over WebSockets only, without polling")
    trusted_proxies: str = Field("", max_length=10_000, description="comma list of addresses or networks whose X-Forwarded-For is believed")
    address_connections: int = Field(5000, ge=1, le=1_000_000, description="sockets one address may hold")
    address_unknown: int = Field(500, ge=1, le=1_000_000, description="... that have not said who they are")
    address_connect_rate: float = Field(
        200.0, gt=0, le=1_000_000, description="new sockets of one address a second; ten times that at once"
    )
    metrics_port: int | None = Field(None, ge=0, le=65535, description="where Prometheus reads; unset: nowhere; 0: any free port")
    metrics_host: str = Field("127.0.0.1", min_length=1, max_length=255, description="address of METRICS_PORT")
    alerts: bool = Field(True, description="whether workers and gateways look for what is wrong; one of all does, once an interval")
    alert_interval_s: float = Field(15.0, ge=1, le=45, description="how often, seconds")
    alert_dead_letters: int = Field(100, ge=0, le=10_000, description="failed jobs that a tenant keeps; more is an alert; 0: never")
    alert_failure_rate: float = Field(0.1, ge=0, le=1, description="share of a queue's ended jobs that failed, over five minutes; 0: never")
    alert_retry_rate: float = Field(0.3, ge=0, le=1, description="share of a queue's attempts that will be repeated; 0: never")
    alert_stalled_s: float = Field(300.0, ge=0, le=86400, description="how long jobs wait while none starts or ends, seconds; 0: never")
    alert_slowdown: float = Field(3.0, ge=0, le=1000, description="how many times longer jobs take than in the hour before; 0: never")
    alert_workers: int = Field(0, ge=0, le=100_000, description="processes there should be; fewer is an alert; 0: any number is right")
    alert_least: int = Field(20, ge=1, le=1_000_000, description="attempts that make a rate, in five minutes")
    jwt_secret: str | None = Field(None, min_length=32, max_length=4096, repr=False, json_schema_extra=SECRET)
    jwt_public_key: str | None = Field(None, min_length=1, max_length=8192, description="PEM: RS256, ES256 or EdDSA, as the key is")
    jwt_jwks_url: str | None = Field(None, max_length=2000, description="https:// address of the identity provider's key set")
    jwt_audience: str | None = Field(None, min_length=1, max_length=500)
    jwt_issuer: str | None = Field(None, min_length=1, max_length=500)
    jwt_tenant_claim: str = Field("tenant", min_length=1, max_length=200)
    jwt_default_tenant: str | None = Field(None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")
    jwt_admin_claim: str | None = Field(None, min_length=1, max_length=200, description="name of a claim that is true, or name=value")
    api_rate: float = Field(100.0, ge=0.1, le=1_000_000, description="requests a second of one principal; twice as many at once")
    audit_retention_s: float = Field(365 * 86400.0, ge=86400, le=36500 * 86400.0, description="how long it is kept who did what")
    metrics_token: str | None = Field(None, min_length=16, max_length=500, repr=False, json_schema_extra=SECRET)
    data_dir: str = Field(".trunkline", description="folder of the embedded database")
    pg_bin_dir: str | None = Field(None, description="folder with postgres, initdb and pg_ctl for the embedded database")
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "console", "json"] = "auto"

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None, **overrides: Any) -> Settings:
        """Read the environment (or `environ`), apply aliases, then `overrides` by field name.

        Raises:
            InvalidSetting: names the variable, the value and what is accepted.
        """
        source = dict(os.environ if environ is None else environ)
        values = _from_environment(source)
        said = {k: v for k, v in overrides.items() if v is not None}
        values.update(said)
        names = {field: variable(field) if field in said else _name_in(source, field) for field in cls.model_fields}
        for field in ("database_url", "listen_url"):
            if values.get(field):
                values[field] = _checked_url(names[field], str(values[field]))
        if str(values.get("jwt_secret") or "").lstrip().startswith("-----BEGIN"):
            raise InvalidSetting(
                "TRUNKLINE_JWT_SECRET is a PEM key, need a shared secret of 32 characters or more. Set TRUNKLINE_JWT_PUBLIC_KEY for a public key."
            )
        if len(given := [name for name in ("jwt_secret", "jwt_public_key", "jwt_jwks_url") if values.get(name)]) > 1:
            raise InvalidSetting(f"{' and '.join(map(variable, given))} are set: one of them can verify users' tokens. Unset the others.")
        if (url := values.get("jwt_jwks_url")) and not _is_safe_address(str(url)):
            raise InvalidSetting(
                f"TRUNKLINE_JWT_JWKS_URL is {mask_url(str(url))[:80]!r}: need https:// (http:// only for 127.0.0.1 and localhost)."
            )
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise InvalidSetting(_sentence(error, names, source)) from None

    @field_validator("encryption_keys")
    @classmethod
    def _checked_keys(cls, keys: SecretStr | None) -> SecretStr | None:
        for n, key in enumerate(_listed(keys.get_secret_value()) if keys else (), 1):
            try:
                length = len(base64.urlsafe_b64decode(key)) if re.fullmatch(r"[A-Za-z0-9_-]{43}=", key) else 0
            except (binascii.Error, ValueError):
                length = 0
            if length != 32:
                raise ValueError(f"key {n} is no key (32 bytes in URL-safe base64): make one with trunkline keys generate")
        return keys

    @field_validator("trusted_proxies")
    @classmethod
    def _checked_proxies(cls, proxies: str) -> str:
        if _listed(proxies) == ("*",):
            return proxies
        for each in _listed(proxies):
            try:
                ipaddress.ip_network(each)
            except ValueError:
                stands = "stands alone or not at all" if each == "*" else "is no address and no network"
                raise ValueError(f"{each[:80]!r} {stands}: list those of your proxies, such as 10.0.0.0/8") from None
        return proxies

    @property
    def keys(self) -> tuple[str, ...]:
        """The encryption keys, the first of which encrypts; () for none."""
        return _listed(self.encryption_keys.get_secret_value()) if self.encryption_keys else ()

    @property
    def jobtypes_switched_off(self) -> frozenset[str]:
        """Names of plug-ins and kinds that are not to be declared; `all` for every plug-in."""
        return frozenset(_listed(self.jobtypes_off))

    @property
    def progress_gap_s(self) -> float:
        """Seconds between two progresses of one job that watchers are told; 0: none."""
        return 1 / self.progress_rate if self.progress_rate else 0.0

    @property
    def origins(self) -> tuple[str, ...]:
        """Origins whose pages may connect to the sockets and call the API, as browsers write them."""
        return tuple(each.rstrip("/").lower() for each in _listed(self.cors_origins))

    def origins_in(self, *, is_development: bool) -> tuple[str, ...]:
        """The same, and in development those of the usual local servers."""
        return (*self.origins, *(DEVELOPMENT_ORIGINS if is_development else ()))

    @property
    def proxies(self) -> tuple[str, ...]:
        """Addresses and networks whose X-Forwarded-For is believed."""
        return _listed(self.trusted_proxies)

    @property
    def is_pooled(self) -> bool:
        """Whether DATABASE_URL may be a transaction pooler (a separate LISTEN_URL says so): no named statements then."""
        return self.listen_url is not None and self.listen_url != self.database_url


def _is_safe_address(url: str) -> bool:
    """Keys that came over the open network could be anybody's."""
    return re.match(r"https://[^/\s]+|http://(127\.0\.0\.1|localhost|\[::1\])(:\d+)?(/|$)", url) is not None


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def variable(field: str) -> str:
    """The environment variable of a field: units and `_name` are ours, not the operator's."""
    return PREFIX + field.removesuffix("_s").removesuffix("_name").upper()


def _from_environment(source: Mapping[str, str]) -> dict[str, Any]:
    by_variable = {variable(field): field for field in Settings.model_fields}
    values: dict[str, Any] = {}
    for alias, (name, factor) in ALIASES.items():
        if alias in source and source[alias] != "":
            values[by_variable[PREFIX + name]] = _scaled(alias, source[alias], factor)
    for alias, reason in UNUSED.items():
        if alias in source:
            warnings.warn(f"{alias} is set and not used: {reason}.", UserWarning, stacklevel=3)
    values.update({field: source[name] for name, field in by_variable.items() if source.get(name, "") != ""})
    values.update({field: _in_file(name, source) for name, field in by_variable.items() if source.get(name + IN_FILE, "") != ""})
    return values


def _name_in(source: Mapping[str, str], field: str) -> str:
    """The variable that says a field: ours, or the alias that is set instead."""
    name = variable(field)
    if source.get(name, "") == "" and source.get(name + IN_FILE, "") == "":
        for alias, (ours, _) in ALIASES.items():
            if PREFIX + ours == name and source.get(alias, "") != "":
                return alias
    return name


def _in_file(name: str, source: Mapping[str, str]) -> str:
    """The text of the file that NAME_FILE names, without the line break at its end."""
    path = Path(source[name + IN_FILE])
    if source.get(name, "") != "":
        raise InvalidSetting(f"{name} and {name}{IN_FILE} are both set: need one of them. Unset the other.")
    try:
        with open(path, "rb", opener=_at_once) as file:
            text = file.read(LARGEST_FILE + 1).decode("utf-8").strip()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InvalidSetting(f"{name}{IN_FILE} is {str(path)!r}, which cannot be read ({why}). Name a file with the value in it.") from None
    if not text or len(text) > LARGEST_FILE:
        raise InvalidSetting(
            f"{name}{IN_FILE} is {str(path)!r}, which is {'too large' if text else 'empty'}. Name a file with the value in it."
        )
    return text


def _at_once(path: str, flags: int) -> int:
    """Opened without waiting: a pipe into which nobody writes would hold up the start for ever, and is empty."""
    opened = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
    if hasattr(os, "O_NONBLOCK"):
        os.set_blocking(opened, True)
    return opened


def _scaled(name: str, value: str, factor: float | None) -> str:
    if factor is None:
        return value
    try:
        return str(float(value) * factor)
    except ValueError:
        raise InvalidSetting(f"{name} is {value!r}, need a number.") from None


def _checked_url(name: str, url: str) -> str:
    """Accept postgres:// and postgresql://; drop `?schema=`, which Prisma adds and PostgreSQL refuses. Nothing else is rewritten."""
    scheme, has_scheme, _ = url.partition("://")
    if scheme not in ("postgres", "postgresql"):  # without a scheme its beginning may be a password
        begins = f"starts with {scheme[:12]!r}" if has_scheme else "is no URL"
        raise InvalidSetting(f"{name} {begins}, need postgresql://user:password@host:port/database.")
    place, _, query = url.partition("?")
    kept = "&".join(part for part in query.split("&") if part and not part.startswith("schema="))
    return f"{place}?{kept}" if kept else place


def _sentence(error: ValidationError, names: Mapping[str, str], source: Mapping[str, str]) -> str:
    problem = error.errors()[0]
    field = str(problem["loc"][0]) if problem["loc"] else "?"
    ours, name = variable(field), names.get(field, variable(field))
    if field == "encryption_keys":  # whatever stands there was meant to be a secret
        return f"{ours} cannot be used: {problem['msg'].removeprefix('Value error, ')}. Unset it to work without encryption."
    value = problem.get("input")
    is_hidden = is_secret(field) or bool(source.get(name + IN_FILE))  # whoever names the wrong file means a secret
    shown = "***" if is_hidden else repr(mask_url(value) if isinstance(value, str) else value)
    if name != ours and not is_hidden and source[name] != value:  # in a unit of its own
        shown = f"{source[name]!r}, {ours} {shown}"
    return f"{name} is {shown}: {problem['msg'][0].lower()}{problem['msg'][1:]}. Unset it to use the default."


def is_secret(field: str) -> bool:
    """Whether a field's value must never be shown."""
    found = Settings.model_fields.get(field)
    return found is not None and found.json_schema_extra == SECRET


def mask_url(url: str) -> str:
    """The URL with its secrets replaced, for logs and messages: the password before the last `@` of the address, whatever stands there
    of an http:// one, and what the query calls a password, key, secret, token or signature (`sslkey` is the name of a file)."""
    masked = re.sub(r"(://[^:/@?]*:)[^?]*@", r"\1***@", url)
    masked = re.sub(r"^(https?://)[^/:@?]+@", r"\1***@", masked, flags=re.IGNORECASE)
    return re.sub(r"([?&])([^=&#]*)=([^&#]*)", lambda part: f"{part[1]}{part[2]}={'***' if _names_a_secret(part[2]) else part[3]}", masked)


def _names_a_secret(parameter: str) -> bool:
    name = unquote(parameter).lower()
    return name != "sslkey" and re.search(r"pass|pwd|secret|token|key|sig(nature)?$|credential", name) is not None
