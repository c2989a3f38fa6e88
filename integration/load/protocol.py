"""What is spoken between the load, the proxies and the origins of a group.

Read by all that configure or load a proxy.
"""

from enum import StrEnum


class Protocol(StrEnum):
    HTTP = "http"
    GRPC = "grpc"
    WEBSOCKET = "websocket"
    TCP = "tcp"


HOST = "origin"
"""The name by which the load asks for the origin."""
