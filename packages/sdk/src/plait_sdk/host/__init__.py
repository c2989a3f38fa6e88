"""The worker of plugins: `python -I -m plait_sdk.host --control FD`, started by the proxy and by nothing else.

`zygote` loads plugins and forks, `worker` sits at the end of a ring, `dispatch` runs hooks; `memory` stands for the
ring where no proxy is at the other end. `plait_sdk.testing` runs the same dispatch.
"""
