"""What Envoy offers for a filter of one's own, doing the same as the plugins of `package/`: Lua, ext_authz, ext_proc.

Called by filters.py. Where another process is asked, `processor.py` or nginx, its port is given.
"""

from typing import Any

from peer_envoy import TYPE, Json, Way, cluster

FILTER = f"{TYPE}.filters.http"
ASKED = "asked"
"""The cluster of the process that is asked."""
SECONDS = "2s"
TAG = """\
function envoy_on_request(handle)
  local fields = handle:headers()
  fields:replace("x-tag", (fields:get("x-user") or "") .. string.sub(fields:get("accept-language") or "", 1, 2))
end
"""
DENY = """\
function envoy_on_request(handle)
  handle:respond({[":status"] = "403"}, "not " .. (handle:headers():get("x-user") or ""))
end
"""
BODY = """\
function envoy_on_request(handle)
  local body = handle:body()
  if body and body:length() > 0 and body:getBytes(0, 1) == "<" then
    handle:respond({[":status"] = "415"}, "no XML")
  end
end
"""


def header() -> Way:
    """No filter: what a route can do by itself."""
    field = {"header": {"key": "x-tag", "value": "alice-en"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
    return Way(route={"request_headers_to_add": [field]})


def lua(code: str) -> Way:
    return Way([filter_of("lua", "lua.v3.Lua", {"default_source_code": {"inline_string": code}})])


def authorizer(port: int, prefix: str = "") -> Way:
    """Over HTTP. `prefix`: before the path that is asked about."""
    service = {
        "server_uri": {"uri": f"http://127.0.0.1:{port}", "cluster": ASKED, "timeout": SECONDS},
        "path_prefix": prefix,
        "authorization_response": {"allowed_upstream_headers": {"patterns": [{"exact": "x-tag"}]}},
    }
    settings = {
        "transport_api_version": "V3",
        "http_service": service,
        "allowed_headers": {"patterns": [{"exact": "x-user"}, {"exact": "accept-language"}]},
    }
    return Way([filter_of("ext_authz", "ext_authz.v3.ExtAuthz", settings)], clusters=[cluster([port], name=ASKED)])


def processor(port: int, body: bool = False) -> Way:
    """Over gRPC; asked about the head of each request, or about its whole body alone."""
    mode = {
        "request_header_mode": "SKIP" if body else "SEND",
        "request_body_mode": "BUFFERED" if body else "NONE",
        "response_header_mode": "SKIP",
        "response_body_mode": "NONE",
        "request_trailer_mode": "SKIP",
        "response_trailer_mode": "SKIP",
    }
    settings = {
        "grpc_service": {"envoy_grpc": {"cluster_name": ASKED}, "timeout": SECONDS},
        "processing_mode": mode,
        "message_timeout": SECONDS,
    }
    asked = cluster([port], http2=True, name=ASKED)
    return Way([filter_of("ext_proc", "ext_proc.v3.ExternalProcessor", settings)], clusters=[asked])


def filter_of(name: str, kind: str, settings: dict[str, Any]) -> Json:
    return {"name": name, "typed_config": {"@type": f"{FILTER}.{kind}", **settings}}
