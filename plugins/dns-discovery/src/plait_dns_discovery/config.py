"""What a user writes in `config` of the plugin's entry."""

import ipaddress
import re

import dns.exception
import dns.name
import plait_sdk as plait
from pydantic import Field, field_validator

_SERVICE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?/[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")


class Entry(plait.PluginConfig):
    """One Service and the name that says where it is."""

    service: str = Field(description='"namespace/name" of a Service without a selector')
    name: str = Field(description='the name that has the SRV records, such as "_http._tcp.web.example.com"')
    port: str = Field("", description='the name of the Service\'s port; "" = every one')

    @field_validator("service")
    @classmethod
    def _is_service(cls, value: str) -> str:
        if not _SERVICE.fullmatch(value):
            raise ValueError(f'"{value}" is no Service; write "namespace/name"')
        return value

    @field_validator("name")
    @classmethod
    def _is_name(cls, value: str) -> str:
        try:
            dns.name.from_text(value)
        except dns.exception.DNSException as error:
            raise ValueError(f'"{value}" is no name of DNS: {error}') from error
        return value


class Config(plait.PluginConfig):
    """`config`."""

    services: list[Entry] = Field(description="each a `service`, a `name` and, if wanted, a `port`", min_length=1)
    servers: list[str] = Field([], description="name servers, IP or IP:port; none = those of /etc/resolv.conf")
    timeout_seconds: float = Field(5.0, description="for one answer, all servers tried", gt=0, le=30)
    shortest_seconds: float = Field(1.0, description="asked no more often than this, whatever the TTL", gt=0)
    longest_seconds: float = Field(300.0, description="and at least this often", gt=0)
    gone_seconds: float = Field(30.0, description="a name must not exist for so long before its endpoints go", ge=0)

    @field_validator("servers")
    @classmethod
    def _are_servers(cls, value: list[str]) -> list[str]:
        for text in value:
            server(text)
        return value


def server(text: str) -> tuple[str, int]:
    """IP address and port of a name server; raises ValueError."""
    host, separator, port = text.rpartition(":")
    is_alone = not separator or (":" in host and not host.endswith("]"))
    host, port = (text, "53") if is_alone else (host, port)
    try:
        address, number = ipaddress.ip_address(host.strip("[]")), int(port)
    except ValueError:
        raise ValueError(f'"{text}" is no name server; write IP or IP:port') from None
    if not 1 <= number <= 65535:
        raise ValueError(f'"{text}": {number} is no port')
    return str(address), number
