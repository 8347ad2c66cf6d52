"""Real application servers: their workers fork, serve, and leave in their own ways."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import sys

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="these servers fork")

REQUESTS = 20

WSGI = """
from app import *
make(flush_interval_seconds=30)
def application(environ, start_response):
    log.info("GET %s", environ["PATH_INFO"])
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""

DJANGO = """
from app import *
import django
from django.conf import settings
from django.http import HttpResponse
from django.urls import path

settings.configure(
    DEBUG=False,
    SECRET_KEY="made up",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    LOGGING={
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"trail": {"class": "defender_logging.ApiKeyHandler", "url": URL, "flush_interval_seconds": 30}},
        "loggers": {"service": {"level": "INFO", "handlers": ["trail"]}},
    },
)
def view(request, number):
    log.info("GET /%s", number)
    return HttpResponse("ok")

urlpatterns = [path("<number>", view)]
from django.core.wsgi import get_wsgi_application
application = get_wsgi_application()  # Configures logging.
HANDLERS.extend(log.handlers)
"""

ASGI = """
from app import *
HANDLERS.extend(logging.getLogger("service").handlers)
async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        tell("FLUSHED", flush_all(10))
        tell_accounts()
        HANDLERS.clear()
        return await send({"type": "lifespan.shutdown.complete"})
    log.info("GET %s", scope["path"])
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})
"""


@pytest.fixture
def listening():
    """A listening socket that a server inherits, so that requests wait in it until the server is up."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        server.set_inheritable(True)
        yield server


def get(listening, number):
    connection = http.client.HTTPConnection(*listening.getsockname(), timeout=20)
    connection.request("GET", f"/{number}", headers={"Connection": "close"})
    answer = connection.getresponse().read()
    connection.close()
    return answer


def expected_texts():
    return sorted(f"GET /{number}" for number in range(REQUESTS))


@pytest.mark.parametrize("preload", [[], ["--preload"]], ids=["each worker imports", "preload"])
@pytest.mark.parametrize("framework", ["wsgi", "django"])
def test_gunicorn_workers_deliver_when_they_are_stopped(  # noqa: PLR0917 - because fixtures are named, not placed
    programs, receiver, check_account, listening, preload, framework
):
    """A handler made in the worker, or in the master before the fork: SIGTERM to the master, and all has arrived."""
    pytest.importorskip("gunicorn")
    if framework == "django":
        pytest.importorskip("django")
    (programs.folder / "service.py").write_text(DJANGO if framework == "django" else WSGI)
    program = programs.start_command(
        [
            *(sys.executable, "-m", "gunicorn", "--workers", "2", "--bind", f"fd://{listening.fileno()}"),
            *preload,
            "service:application",
        ],
        url=receiver.generic_url,
        pass_fds=[listening.fileno()],
        HOME=str(programs.folder),  # Where newer versions put a control socket.
    )
    answers = [get(listening, number) for number in range(REQUESTS)]
    program.process.send_signal(signal.SIGTERM)
    result = program.finish()

    assert [b"ok"] * REQUESTS == answers
    assert 0 == result.code, result.stderr
    assert expected_texts() == sorted(entry["message"] for entry in receiver.entries)
    check_account(result.accounts, receiver, delivered=REQUESTS)


@pytest.mark.parametrize("stop", ["SIGINT", "SIGTERM"])
def test_uvicorn_delivers_with_a_log_config(programs, receiver, check_account, listening, stop):
    """Our handler in a --log-config, flush_all at the lifespan's end: uvicorn dies of SIGTERM without exit hooks."""
    pytest.importorskip("uvicorn")
    handler = {
        "class": "defender_logging.ApiKeyHandler",
        "url": receiver.generic_url,
        "flush_interval_seconds": 30,
    }
    configuration = {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"trail": handler},
        "loggers": {"service": {"level": "INFO", "handlers": ["trail"]}},
    }
    (programs.folder / "logging.json").write_text(json.dumps(configuration))
    (programs.folder / "service.py").write_text(ASGI)
    program = programs.start_command(
        [
            *(sys.executable, "-m", "uvicorn", "service:application", "--fd", str(listening.fileno())),
            *("--log-config", "logging.json"),
        ],
        pass_fds=[listening.fileno()],
    )
    answers = [get(listening, number) for number in range(REQUESTS)]
    program.process.send_signal(getattr(signal, stop))
    result = program.finish()

    assert [b"ok"] * REQUESTS == answers
    assert True is result.value("FLUSHED")
    assert expected_texts() == sorted(entry["message"] for entry in receiver.entries)
    check_account(result.accounts, receiver)


CELERY = """
from app import *
import pathlib
from celery import Celery
from celery.signals import worker_process_shutdown

folder = pathlib.Path(__file__).parent / "broker"
for name in ("queue", "control"):
    (folder / name).mkdir(parents=True, exist_ok=True)
celery = Celery("service", broker="filesystem://")
celery.conf.update(
    broker_transport_options={
        "data_folder_in": str(folder / "queue"),
        "data_folder_out": str(folder / "queue"),
        "control_folder": str(folder / "control"),
        "polling_interval": 0.1,
    },
    worker_hijack_root_logger=False,
    task_ignore_result=True,
    broker_connection_retry_on_startup=False,
)
make(flush_interval_seconds=30)
logging.getLogger().handlers[-1].addFilter(lambda record: record.name == "service")

@worker_process_shutdown.connect
def deliver(**_):
    tell("FLUSHED", flush_all(10))
    tell_accounts()

@celery.task
def work(number):
    log.info("GET /%d", number)
    tell("WORKED", number)
"""


CELERY_WITHOUT_A_WORD = CELERY.replace("flush_all(10)", "'by itself'")
"""The signal is only used to tell the account, and after our own receiver, which was connected before."""

SENDS_TASKS = f"""
import service
for number in range({REQUESTS}):
    service.work.delay(number)
"""


def run_celery(programs, url):
    """Have a worker with two processes do all tasks, stop it, and return what it told."""
    worker = programs.start_command(
        [
            *(sys.executable, "-m", "celery", "--app", "service:celery", "worker", "--pool", "prefork"),
            *("--concurrency", "2", "--without-gossip", "--without-mingle", "--without-heartbeat"),
        ],
        url=url,
    )
    assert 0 == programs.start_command([sys.executable, "-c", SENDS_TASKS], url=url).finish().code
    for _ in range(REQUESTS):
        worker.wait_for("WORKED")
    worker.process.send_signal(signal.SIGTERM)
    return worker.finish()


@pytest.mark.slow
@pytest.mark.parametrize("source", [CELERY, CELERY_WITHOUT_A_WORD], ids=["flush_all", "nothing"])
def test_celery_prefork_delivers_when_a_worker_process_ends(programs, receiver, check_account, source):
    """Celery's children leave by os._exit; its shutdown signal is ours too, whatever the service does with it."""
    pytest.importorskip("celery")
    (programs.folder / "service.py").write_text(source)
    result = run_celery(programs, receiver.generic_url)

    assert 2 == len(result.values("FLUSHED")), result.stderr
    assert expected_texts() == sorted(entry["message"] for entry in receiver.entries)
    check_account([a for a in result.accounts if a["accepted"]], receiver, delivered=REQUESTS)


@pytest.mark.parametrize("order", ["before", "after"])
def test_celerys_signal_is_found_whenever_it_was_imported(programs, receiver, check_account, order):
    """Imported before the handler is made, or after it and before the fork."""
    pytest.importorskip("celery")
    imports = "import celery.signals"
    result = programs.run(
        f"""
        {imports if order == "before" else ""}
        make(flush_interval_seconds=30)
        {imports}
        child = os.fork()
        if not child:
            log.info("from the child")
            celery.signals.worker_process_shutdown.send(sender="name", pid=os.getpid(), exitcode=0)
            tell_accounts()
            os._exit(0)
        os.waitpid(child, 0)
        """,
        url=receiver.generic_url,
        options=(),
    )

    assert 0 == result.code, result.stderr
    check_account(result.accounts, receiver, delivered=1)


BILLIARD = """
import billiard
make(flush_interval_seconds=30)

def child(number):
    log.info("GET /%d", number)

children = [billiard.Process(target=child, args=[number]) for number in range(3)]
for process in children:
    process.start()
for process in children:
    process.join()
tell("CODES", [process.exitcode for process in children])
"""


def test_plain_children_of_billiard_deliver_as_those_of_multiprocessing(programs, receiver):
    """They run the finalizers of multiprocessing, among them ours."""
    pytest.importorskip("billiard")
    result = programs.run(BILLIARD, url=receiver.generic_url, options=())

    assert (0, [0, 0, 0]) == (result.code, result.value("CODES")), result.stderr
    assert ["GET /0", "GET /1", "GET /2"] == sorted(entry["message"] for entry in receiver.entries)


@pytest.mark.slow
def test_what_killed_celery_children_logged_is_in_the_spool(programs, receiver):
    """SIGKILL to the worker and all of its children with the receiver down: the next start of the service delivers."""
    pytest.importorskip("celery")
    receiver.refuse()
    service = CELERY.replace("make(flush_interval_seconds=30)", 'make(spool_dir="spool")')
    (programs.folder / "service.py").write_text(service)
    sender = f"import service\nfor number in range({REQUESTS}): service.work.delay(number)"
    worker = programs.start_command(
        [
            *(sys.executable, "-m", "celery", "--app", "service:celery", "worker", "--pool", "prefork"),
            *("--concurrency", "2", "--without-gossip", "--without-mingle", "--without-heartbeat"),
        ],
        url=receiver.generic_url,
    )
    assert 0 == programs.start_command([sys.executable, "-c", sender], url=receiver.generic_url).finish().code
    for _ in range(REQUESTS):
        worker.wait_for("WORKED")
    os.killpg(worker.process.pid, signal.SIGKILL)
    worker.finish()
    receiver.listen()
    last = programs.run(
        f"""
        handler = make(spool_dir="spool")
        handler.start()
        tell("DELIVERED", wait_until(lambda: handler.stats().delivered == {REQUESTS}))
        """,
        url=receiver.generic_url,
    )

    assert (0, "", True) == (last.code, last.stderr, last.value("DELIVERED"))
    assert expected_texts() == sorted(entry["message"] for entry in receiver.entries)
