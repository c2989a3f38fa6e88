"""What a user writes in `spec.config`."""

from typing import Literal

import plait_sdk as plait
from pydantic import Field

PATH = "^/[^?#]*$"


class Config(plait.PluginConfig):
    """The provider, the client that it knows, and what the service gets to see."""

    issuer: str = Field(description="URL of the provider; its configuration is found below it", pattern="^https?://")
    client_id: str = Field(description="as the provider knows us", min_length=1)
    client_secret: str = Field("", description="as the provider knows us; empty for a public client")
    public_url: str = Field(description="where browsers reach the service, without a path", pattern="^https?://[^/]+$")
    cookie_key: str = Field(
        description="key of sessions, 32 random bytes in base64url: the same in all proxies; another ends all sessions",
        pattern="^[A-Za-z0-9_-]{43}$",
    )
    cookie: str = Field("plait-session", description="name of the cookie", pattern="^[A-Za-z0-9_-]+$")
    scopes: list[str] = Field(default_factory=lambda: ["openid", "profile", "email"], description="that are asked for")
    headers: dict[str, str] = Field(
        default_factory=lambda: {"sub": "x-user", "email": "x-user-email"},
        description="claims that the service is told, and in which header; never what a caller wrote there",
    )
    callback_path: str = Field("/oauth2/callback", description="where the provider sends browsers back", pattern=PATH)
    logout_path: str = Field("/oauth2/logout", description="ends the session", pattern=PATH)
    session_seconds: int = Field(8 * 3600, description="how long a session lasts", gt=0)
    login_seconds: int = Field(600, description="how long a login may take", gt=0)
    open_paths: list[str] = Field(default_factory=list, description="paths that need no login, exact")
    others: Literal["Refuse", "Pass"] = Field(
        "Refuse",
        description="who is not logged in and no browser that can be sent to the provider: 401, or let through",
    )
    timeout_seconds: float = Field(5, description="how long the provider may take", gt=0, le=30)

    @property
    def redirect_uri(self) -> str:
        """Where the provider sends browsers back."""
        return self.public_url + self.callback_path
