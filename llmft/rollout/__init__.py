"""How a policy answers a task: in one go, or in turns with a tool."""
