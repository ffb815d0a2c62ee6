"""Calling a server over HTTP or gRPC; both clients take and give the same things."""

from calvaria.client.codec import Answer
from calvaria.client.grpc_client import GrpcClient
from calvaria.client.http_client import Client

__all__ = ["Answer", "Client", "GrpcClient"]
