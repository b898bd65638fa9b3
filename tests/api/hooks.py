"""What the fuzzer may not do to the machine that it runs on. It changes nothing about whether a request is right."""

import os

import schemathesis

DIRECTORY = os.environ["FUZZ_DIRECTORY"]


@schemathesis.hook
def before_call(context, case, kwargs):
    body = case.body
    if isinstance(body, dict):
        # An absolute path stays one, but lies where the test may write.
        if isinstance(body.get("directory"), str) and body["directory"].startswith("/"):
            body["directory"] = DIRECTORY + "/backup"
        # Nobody's endpoint is dialled: nothing listens there.
        if isinstance(body.get("url"), str) and body["url"].startswith("http"):
            body["url"] = "http://127.0.0.1:9/hook"
    # Waiting for news is right however long, and not what is tested here.
    query = case.query
    if query and isinstance(query.get("wait_ms"), int) and query["wait_ms"] > 0:
        query["wait_ms"] = 1
