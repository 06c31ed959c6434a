"""The whole way: a program sends, a program elsewhere works, a browser sees the result; over every door, across two gateways."""

from __future__ import annotations

from tests.gateway.bare import Bare


async def test_what_one_sends_another_works_on_and_a_browser_room_sees(app, server, elsewhere, join, token, cross):
    """send → remote worker of the other gateway → result → rooms of both; sent and worked on over Socket.IO and over the plain WebSocket."""
    plain = await token("default")
    ports = (server.port, elsewhere.port)
    raw_sender, socketio_sender = await join("default"), await Bare.open(server.port, {"customerToken": plain})
    raw_worker, socketio_worker = await cross(plain, events="false"), await Bare.open(elsewhere.port, {"customerToken": plain})
    for each in (socketio_sender, socketio_worker):
        await each.until("client_ready")
    await raw_worker.ok("register_worker", jobName="resize")
    await socketio_worker.ask("register_worker", {"jobName": "mail"})
    browsers = [await (await Bare.open(port, {}, path="/socket.io", namespace="/jobs")).let_in() for port in ports]
    delayed = {"startAfter": 0}
    sent = (await raw_sender.ok("send_job", name="mail", data={"to": "jürgen"}, options=delayed))["jobId"]
    also = (await socketio_sender.ask("send_job", {"name": "resize", "data": {"path": "a.png"}}))["jobId"]
    for browser in browsers:
        for job_id in (sent, also):
            assert (await browser.ask("subscribe:jobs", {"jobId": job_id}))["success"]
    (mail,), (resize,) = await socketio_worker.until("work_request"), await raw_worker.pushed("work_request")
    await socketio_worker.ask("job_progress", {"jobName": "mail", "jobId": mail["id"], "progress": 50, "message": "half"})
    await socketio_worker.ask("job_completed", {"jobName": "mail", "jobId": mail["id"], "attempt": 1, "result": {"sent": "jürgen"}})
    await raw_worker.ok("job_completed", jobName="resize", jobId=resize["id"], result={"size": 3})
    for browser in browsers:
        done = {each["jobId"]: each["result"] for each in await browser.until("job:completed", 2)}
        (progress,) = browser.said("job:progress")

        assert {sent: {"sent": "jürgen"}, also: {"size": 3}} == done
        assert (sent, 50, "half") == (progress["jobId"], progress["progress"], progress["message"])
    for heard in (await raw_sender.pushed("job_completed", 2), await socketio_sender.until("job_completed", 2)):
        assert {sent, also} == {each["jobId"] for each in heard}
    assert ({"to": "jürgen"}, {"path": "a.png"}) == (mail["data"], resize["data"])
    assert {"completed"} == {(await app.get(job_id)).state for job_id in (sent, also)}
    for each in (socketio_sender, socketio_worker, *browsers):
        await each.close()
