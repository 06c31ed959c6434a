"""Socket.IO for every dialect: python-socketio's protocol, our own manager, mailboxes and limits.

`server.Server` speaks to `link.Dialect`s, one a namespace; it knows no call and no event. The library does the handshake, the
upgrade and the packets. What it does not do is here: queues that are bounded (`mailbox`), recipients without a task each
(`members`), text that is checked before anything reads it (`packets`), and sockets that end when they should (`engine`).
"""
