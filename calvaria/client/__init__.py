"""Calling a server over HTTP or gRPC; both clients take and give the same things."""

from calvaria.client.codec import Answer, Caller, Prediction
from calvaria.client.grpc_client import GrpcClient
from calvaria.client.http_client import Client
from calvaria.client.retry import NEVER, Busy, Retry, Transfer
from calvaria.serving.report import Report

__all__ = ["NEVER", "Answer", "Busy", "Caller", "Client", "GrpcClient", "Prediction", "Report", "Retry", "Transfer"]
