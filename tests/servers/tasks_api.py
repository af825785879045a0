"""The HTTP API with the routes about tasks, as a process: `python -m tests.servers.tasks_api PORT [KEY]`."""

from __future__ import annotations

import sys

import uvicorn

from rowvec import assemble
from rowvec.serve import ServeSettings, Service, create_app
from rowvec.serve.tasks import task_routes
from rowvec.workers.settings import load_config


def main() -> None:
    loaded = load_config()
    with assemble.opened(loaded.path, None) as pipeline:
        settings = ServeSettings(api_keys=tuple(sys.argv[2:]))
        app = create_app({pipeline.name: Service(pipeline)}, settings)
        if not any(str(getattr(route, "path", "")).startswith("/api/tasks") for route in app.routes):
            app.include_router(task_routes())
        uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")


if __name__ == "__main__":
    main()
