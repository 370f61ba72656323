"""The SDK that runs a handler as a task: ``def run(task: Task) -> dict``.

`python -m ossa.worker` reads the task contract (ossa.api.contract) from its environment, opens what the input
refers to, calls the handler and hands its output in. A handler needs these names alone::

    from ossa.worker import File, Task

    def run(task: Task) -> dict:
        task.log.info("got %d records", len(task.input["records"]))
        return {"count": len(task.input["records"]), "plot": File("plot.png", media_type="image/png")}
"""

from ossa.worker.errors import InvalidInput, InvalidOutput
from ossa.worker.task import File, Task

__all__ = ["File", "InvalidInput", "InvalidOutput", "Task"]
