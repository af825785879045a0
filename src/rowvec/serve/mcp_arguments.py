"""What a tool of the Model Context Protocol was given, checked as the HTTP API checks a request.

The SDK passes over arguments that a tool does not have, so that a search would go on without a misspelled filter. It
also reads texts that are JSON as JSON, and answers a wrong value with pydantic's own report.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from anyio import create_memory_object_stream, create_task_group
from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.tools import Tool
from mcp.server.mcpserver.utilities.func_metadata import FuncMetadata
from mcp.server.stdio import stdio_server
from mcp.shared.message import SessionMessage
from mcp.types import CallToolResult, InputRequiredResult, ToolAnnotations
from pydantic import ConfigDict, ValidationError, create_model

from rowvec.serve.mcp_messages import Lines, refusal
from rowvec.serve.problems import Problem, of_validation


def tool(function: Callable[..., Any], annotations: ToolAnnotations) -> Tool:
    """A tool that takes the arguments of its schema and no others."""
    made = Tool.from_function(function, annotations=annotations)
    told = made.fn_metadata
    arguments = create_model(told.arg_model.__name__, __base__=told.arg_model)
    arguments.model_config = ConfigDict(**told.arg_model.model_config, extra="forbid")
    arguments.model_rebuild(force=True)
    strict = _Arguments(
        arg_model=arguments,
        output_schema=told.output_schema,
        output_model=told.output_model,
        wrap_output=told.wrap_output,
    )
    return made.model_copy(update={"fn_metadata": strict, "parameters": arguments.model_json_schema(by_alias=True)})


_TEXTS = frozenset({"query", "key", "id"})


class _Arguments(FuncMetadata):
    def pre_parse_json(self, data: dict[str, Any]) -> dict[str, Any]:
        """Clients send lists as texts of JSON. A query, a key and an id are texts, also where they are JSON. So is a
        filter, whose own reader refuses a name that is there twice."""
        parsed = super().pre_parse_json(data)
        kept = (name for name, value in parsed.items() if name in _TEXTS or isinstance(value, dict))
        return {**parsed, **{name: data[name] for name in kept}}


class Server(MCPServer[Any]):
    """Says in words which argument is wrong."""

    async def call_tool(
        self, name: str, arguments: dict[str, Any], context: Context[Any, Any] | None = None
    ) -> CallToolResult | InputRequiredResult:
        try:
            return await super().call_tool(name, arguments, context)
        except ToolError as error:
            if not isinstance(error.__cause__, ValidationError):
                raise
            wrong = [{**each, "loc": ("arguments", *each["loc"])} for each in error.__cause__.errors()]
            known = next(list(each.input_schema["properties"]) for each in await self.list_tools() if each.name == name)
            raise in_words(of_validation(wrong, known)) from None

    async def run_stdio_async(self) -> None:
        """A line that cannot be read is answered. The SDK passes over it, and whoever sent it would wait."""
        lines = Lines.of_stdin()
        async with stdio_server(lines) as (messages, answers), create_task_group() as tasks:
            forward, requests = create_memory_object_stream[SessionMessage | Exception](0)

            async def pass_on() -> None:
                async with forward:
                    async for message in messages:
                        refused = refusal(lines.taken.popleft(), message if isinstance(message, Exception) else None)
                        if refused is not None:
                            await answers.send(SessionMessage(refused))
                        else:
                            await forward.send(message)

            tasks.start_soon(pass_on)
            lowlevel = self._lowlevel_server
            await lowlevel.run(requests, answers, lowlevel.create_initialization_options())


def in_words(problem: Problem) -> ToolError:
    return ToolError(f"{problem.message} {problem.hint}" if problem.hint else problem.message)
