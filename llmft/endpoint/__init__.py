"""Asking models that others serve, over the OpenAI protocol."""
