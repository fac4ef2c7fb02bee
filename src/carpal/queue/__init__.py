"""The durable queue of jobs and deliveries, shared by node and page."""
